#!/usr/bin/env bash
# installed.sh BUILD CMAKE NINJA CXX: installs the build into a folder, moves that, and builds and
# runs the projects in consumers/ with nothing but what is there.
set -euo pipefail
build=$1 cmake=$2 ninja=$3 cxx=$4
consumers=$(cd "$(dirname "$0")/consumers" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
fail() {
  printf 'installed.sh: %s\n' "$*" >&2
  exit 1
}

"$cmake" --install "$build" --prefix "$work/first" >installed
mv first prefix
lib=$(dirname "$(find prefix -name libmmrec.so)")

# A symbol that is not the project's would clash with another library's.
for name in mmrec mmrec_core; do
  nm -D --defined-only "$lib/lib$name.so" | awk '{ print $3 }' |
    grep -vE '^(mmrec_(version|error|open|open_in|close|vocabulary|encode|decode|begin|end|read|logits|save_state|restore_state)|_Z(NK?|T[ISV]N)5mmrec.*)$' >strange || true
  [ ! -s strange ] || fail "lib$name.so has $(wc -l <strange) symbols of others: $(head -3 strange)"
  # Each release of Debian has another one.
  ! readelf -d "$lib/lib$name.so" | grep 'NEEDED.*libfmt' || fail "lib$name.so needs libfmt"
done

export CXX=$cxx
for name in kernels training c; do
  "$cmake" -G Ninja -S "$consumers/$name" -B "$name" -DCMAKE_MAKE_PROGRAM="$ninja" \
    -DCMAKE_PREFIX_PATH="$work/prefix" >configured 2>&1 || { cat configured; fail "$name: CMake"; }
  "$cmake" --build "$name" >built 2>&1 || { cat built; fail "$name was not built"; }
done
kernels/kernels
training/own_loop
training/trainer checkpoint logits
c/reader checkpoint logits

# refused NAME WHAT OTHER MESSAGE: with OTHER in the place of WHAT the C consumer is not configured.
refused() {
  cp -r "$consumers/c" "$1"
  sed -i "s/$2/$3/" "$1/CMakeLists.txt"
  ! "$cmake" -G Ninja -S "$1" -B "$1/build" -DCMAKE_MAKE_PROGRAM="$ninja" \
    -DCMAKE_PREFIX_PATH="$work/prefix" >configured 2>&1 || fail "$3 was found"
  grep -q "$4" configured || { cat configured; fail "$3"; }
}
refused newer 'MMRec 0.1' 'MMRec 0.2' 'version: 0.1'
refused component 'COMPONENTS c' 'COMPONENTS kernel' 'no component kernel, only kernels, runtime'

# The programs go by their installed names, and find each other.
bin=$work/prefix/bin
printf 'A line of a small text, number %d.\n' {1..300} >text
"$bin/mmrec-search" --data text --grid lr=1e-3,3e-3 --steps 2 --out search >said
grep -q '^2/2 ' said || { cat said; fail "mmrec-search"; }
for program in "$bin"/*; do
  name=${program##*/}
  page=$(zcat "prefix/share/man/man1/$name.1.gz" | sed 's/\\f.//g; s/\\//g')
  grep -q "^$name - " <<<"$page" && grep -q -- '-h,--help' <<<"$page" || fail "page of $name: $page"
  grep -qw "$name" "prefix/share/bash-completion/completions/$name" || fail "completion of $name"
done
completed=$(bash -c 'source prefix/share/bash-completion/completions/mmrec-train
  COMP_WORDS=('"$bin"'/mmrec-train --val-s) COMP_CWORD=1
  _mmrec "$COMP_WORDS" && echo "${COMPREPLY[@]}"')
[[ " $completed " = *" --val-split "* ]] || fail "--val-s is completed to '$completed'"

# The same by a plain call of the compiler.
export PKG_CONFIG_PATH=$work/$lib/pkgconfig LD_LIBRARY_PATH=$work/$lib
read -ra flags <<<"$(pkg-config --cflags --libs mmrec)"
cc -std=c11 -Wall -Wextra -Wpedantic -Werror "$consumers/c/main.c" -pthread -o reader "${flags[@]}"
./reader checkpoint logits
read -ra flags <<<"$(pkg-config --cflags --libs mmrec-core)"
"$cxx" -std=c++20 -Wall -Wextra -Wpedantic -Wshadow -Werror -rdynamic \
  "$consumers/kernels/main.cpp" -o plain_kernels "${flags[@]}"
./plain_kernels
