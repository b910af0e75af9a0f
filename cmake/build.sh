#!/usr/bin/env bash
# build.sh PRESET BUILD_DIR [TARGET..]: configures where that is needed, and builds the targets, or else what the preset names.
# Another compiler, kernel target or folder of schedule tables in the environment than last time's ($CXX, $MMREC_TARGET,
# $MMREC_SCHEDULE_DIR) starts the configuration afresh, and so does a build folder that has been copied or moved: its files name the
# old place.
set -euo pipefail
[ -z "${MMREC_SCHEDULE_DIR:-}" ] || MMREC_SCHEDULE_DIR=$(realpath -ms "$MMREC_SCHEDULE_DIR")  # as the tuner names it
cd "$(dirname "$0")/.."
source cmake/lock.sh
preset=$1 build_dir=$2
shift 2

mkdir -p "$build_dir"
lock "$build_dir" build
trap 'exit 143' TERM HUP  # after the build that runs has ended, which would else go on without the lock
wanted="CXX=${CXX:-} MMREC_TARGET=${MMREC_TARGET:-} in $(pwd -P)"
if [ ! -f "$build_dir/build.ninja" ] || [ "$(cat "$build_dir/configured-for" 2>/dev/null)" != "$wanted" ] ||
  ! grep -qxF "MMREC_SCHEDULE_DIR:PATH=${MMREC_SCHEDULE_DIR:-}" "$build_dir/CMakeCache.txt"; then
  cmake --preset "$preset" --fresh >"$build_dir/configure.log" 9<&- || {
    cat "$build_dir/configure.log"
    exit 1
  }
  echo "$wanted" >"$build_dir/configured-for"
fi
cmake --build --preset "$preset" ${1:+--target "$@"} 9<&-
