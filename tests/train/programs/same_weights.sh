#!/usr/bin/env bash
# same_weights.sh STEPS SHA256 COMMAND..: the documented run, where COMMAND is `train` or an emulator
# with it, leaves these weights after so many steps, on every CPU. Ends with 77 if the kernels are for
# a CPU whose bits are its own.
set -euo pipefail
steps=$1 wanted=$2
shift 2
run=$(mktemp -d)
trap 'rm -rf "$run"' EXIT
"$@" --steps "$steps" --sample-tokens 0 --out "$run/run"
! grep -q 'with bits of their own' "$run/run/training_output.log" || exit 77
sum=$(sha256sum "$run/run/final_checkpoint/model.safetensors")
echo "after $steps steps the weights are ${sum%% *}"
[ "${sum%% *}" = "$wanted" ] || {
  echo "and on other CPUs $wanted. If the arithmetic has changed on purpose, change it in" \
    "tests/CMakeLists.txt." >&2
  exit 1
}
