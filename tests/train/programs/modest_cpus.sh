#!/usr/bin/env bash
# modest_cpus.sh TRAIN: a program for every x86-64 CPU runs on one without AVX, which qemu emulates,
# with the bits that the kernels for it leave here, and says why it can not run on one that lacks
# even SSE4.1. Ends with 77 if there is no qemu.
set -euo pipefail
unset MMREC_MAX_ISA
train=$1
command -v qemu-x86_64 >/dev/null || exit 77
run=$(mktemp -d)
trap 'rm -rf "$run"' EXIT

options=(--steps 2 --batch 1 --seq 32 --val-tokens 64 --sample-tokens 0)
MMREC_MAX_ISA=sse41 "$train" "${options[@]}" --out "$run/here"
qemu-x86_64 -cpu Nehalem "$train" "${options[@]}" --out "$run/nehalem"
grep 'kernels for x86-64-linux-sse41,' "$run/nehalem/training_output.log"
cmp "$run"/{here,nehalem}/final_checkpoint/model.safetensors

! qemu-x86_64 -cpu core2duo "$train" "${options[@]}" --out "$run/core2" 2>"$run/said" || exit 1
cat "$run/said"
grep -q 'this machine (.*) does not offer sse41\. Build on' "$run/said"
