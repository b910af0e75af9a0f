#!/usr/bin/env bash
# build.sh PRESET BUILD_DIR [TARGET..]: configures if necessary, then builds the targets, by default
# those of the preset. Configures from scratch if the compiler, the kernel target or the folder of
# schedule tables in the environment ($CXX, $MMREC_TARGET, $MMREC_SCHEDULE_DIR) has changed since
# the last build, and if the build folder was copied or moved: its files contain the old path.
set -euo pipefail
# the same form as in the tuner
[ -z "${MMREC_SCHEDULE_DIR:-}" ] || MMREC_SCHEDULE_DIR=$(realpath -ms "$MMREC_SCHEDULE_DIR")
cd "$(dirname "$0")/.."
source cmake/lock.sh
preset=$1 build_dir=$2
shift 2

mkdir -p "$build_dir"
lock "$build_dir" build
# Handled after the running build has ended; it would otherwise go on without the lock.
trap 'exit 143' TERM HUP
wanted="CXX=${CXX:-} MMREC_TARGET=${MMREC_TARGET:-} in $(pwd -P)"
if [ ! -f "$build_dir/build.ninja" ] ||
  [ "$(cat "$build_dir/configured-for" 2>/dev/null)" != "$wanted" ] ||
  ! grep -qxF "MMREC_SCHEDULE_DIR:PATH=${MMREC_SCHEDULE_DIR:-}" "$build_dir/CMakeCache.txt"; then
  cmake --preset "$preset" --fresh >"$build_dir/configure.log" 9<&- || {
    cat "$build_dir/configure.log"
    exit 1
  }
  echo "$wanted" >"$build_dir/configured-for"
fi
cmake --build --preset "$preset" ${1:+--target "$@"} 9<&-
