#!/usr/bin/env bash
# wheel.sh BUILD OUT: makes the wheel of the Python package in the folder OUT, of the module that is
# built in BUILD (its target mmrec_python); compiles nothing and downloads nothing.
set -euo pipefail
build=$(realpath "$1") out=$(realpath -m "$2")
cd "$(dirname "$0")/.."
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
.venv/bin/cmake --install "$build" --component python --prefix "$stage" >/dev/null
cp python/mmrec/* "$stage/mmrec"
.venv/bin/python3 -m pip wheel --quiet --disable-pip-version-check --no-build-isolation --no-deps \
  --config-settings=wheel.cmake=false --config-settings=wheel.platlib=true \
  --config-settings=wheel.packages="$stage/mmrec" --wheel-dir "$out" .
