#!/usr/bin/env bash
# include_rule.sh SOURCES FOLDERS.TXT CMAKE NINJA: breaks the rule of includes in a copy of the
# sources, where cmake/include_rule.sh must say so, and in a small project, which must not build.
set -euo pipefail
source=$1 folders=$2 cmake=$3 ninja=$4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
  printf 'include_rule.sh: %s\n' "$*" >&2
  cat "$work/said" >&2
  exit 1
}

mkdir "$work/tree"
(cd "$source" && find $(sed 's/[ /].*//' "$folders" | sort -u) -name '*.h' -o -name '*.cpp' \
  -o -name '*.def' | xargs cp --parents -t "$work/tree")
check() { "$source/cmake/include_rule.sh" "$work/tree" "$folders" >"$work/said" 2>&1; }
check || fail "the sources as they are were refused"

# refused FILE LINE..
refused() {
  local file=$1
  shift
  cp "$work/tree/$file" "$work/before"
  printf '%s\n' "$@" >>"$work/tree/$file"
  ! check || fail "$file may contain: $*"
  grep -q "^$file:$(wc -l <"$work/tree/$file"): " "$work/said" || fail "the place is not named"
  cp "$work/before" "$work/tree/$file"
}
refused support/error.h '#include "runtime/tensor.h"'
refused support/error.h '  #include "runtime/tensor.h"'
refused support/error.h '#  include "runtime/tensor.h"'
refused support/error.h '#include <runtime/tensor.h>'
refused support/error.h '#include "../runtime/tensor.h"'
refused support/error.h '#include "support/../runtime/tensor.h"'
refused support/error.h '#include <./runtime/tensor.h>'
refused support/error.h '#define HEADER "runtime/tensor.h"' '#include HEADER'
refused support/error.h '#include "tests/common/gzip.h"'
refused support/error.h '#include <tests/common/gzip.h>'
refused runtime/tensor.h '#include "runtime/ops/gemm.h"'
refused model/model.h '#include "generators/common/gemm.h"'
refused generators/gemm/gemm_packed_generator.cpp '#include "runtime/tensor.h"'
refused generators/kernels.def '#include "runtime/tensor.h"'
refused train/programs/command_line.h '#include "train/run/options.h"'
refused bench/harness/case.h '#include "bench/workloads/workloads.h"'
refused bench/bench_main.cpp '#include "bench/tune/log.h"'
refused support/error.h '#include "generators/kernels.def"'

# In a build nothing is made before the check.
mkdir -p "$work"/toy/{cmake,low,high,build}
cp "$source"/cmake/{Folders.cmake,OwnFolder.cmake,include_rule.sh} "$work/toy/cmake"
cd "$work/toy"
cat >CMakeLists.txt <<'END'
cmake_minimum_required(VERSION 3.28)
project(toy NONE)
include(cmake/Folders.cmake)
include(cmake/OwnFolder.cmake)
add_subdirectory(low)
add_subdirectory(high)
add_custom_target(program COMMAND echo >>made)
mmrec_check_includes()
END
echo 'mmrec_folder_rule(low)' >low/CMakeLists.txt
echo 'mmrec_folder_rule(high USES low)' >high/CMakeLists.txt
echo '#include <vector>' >low/low.h
echo '#include "low/low.h"' >high/high.h
configure() { "$cmake" -G Ninja -DCMAKE_MAKE_PROGRAM="$ninja" -B build >"$work/said" 2>&1; }
build() { "$ninja" -C build program >"$work/said" 2>&1; }
configure || fail "the small project was not configured"
build || fail "the small project was not built"
[ -e build/made ] || fail "nothing was made"
rm build/made
echo '#include "high/high.h"' >>low/low.h
! build || fail "low includes high, and it was built"
grep -q '^low/low.h:2: ' "$work/said" || fail "the place is not named"
[ ! -e build/made ] || fail "the program was made before the check"
echo 'mmrec_folder_rule(low USES high)' >low/CMakeLists.txt
! configure || fail "low uses a folder below it, and it was configured"

echo 'all as told'
