#!/usr/bin/env bash
# build.sh PRESET BUILD_DIR: configures where that is needed, and builds. Another compiler, kernel target or folder of schedule
# tables in the environment than last time's ($CXX, $MMREC_TARGET, $MMREC_SCHEDULE_DIR) starts the configuration afresh.
set -euo pipefail
[ -z "${MMREC_SCHEDULE_DIR:-}" ] || MMREC_SCHEDULE_DIR=$(realpath -ms "$MMREC_SCHEDULE_DIR")  # as the tuner names it
cd "$(dirname "$0")/.."
preset=$1 build_dir=$2

wanted="CXX=${CXX:-} MMREC_TARGET=${MMREC_TARGET:-}"
if [ ! -f "$build_dir/build.ninja" ] || [ "$(cat "$build_dir/configured-for" 2>/dev/null)" != "$wanted" ] ||
  ! grep -qxF "MMREC_SCHEDULE_DIR:PATH=${MMREC_SCHEDULE_DIR:-}" "$build_dir/CMakeCache.txt"; then
  mkdir -p "$build_dir"
  cmake --preset "$preset" --fresh >"$build_dir/configure.log" || {
    cat "$build_dir/configure.log"
    exit 1
  }
  echo "$wanted" >"$build_dir/configured-for"
fi
cmake --build --preset "$preset"
