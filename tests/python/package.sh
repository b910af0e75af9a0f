#!/usr/bin/env bash
# package.sh SOURCES BUILD: makes the Python package's wheel of the build, installs it in a new
# virtual environment that has nothing of the source tree, and tests it there.
set -euo pipefail
source=$1 build=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() {
  printf 'package.sh: %s\n' "$*" >&2
  exit 1
}

module=$(echo "$build"/python/mmrec/_native.*.so)
strange=$(nm -D --defined-only "$module" | awk '$3 != "PyInit__native" { print $3 }')
[ -z "$strange" ] || fail "the module has symbols of others: $(head -3 <<<"$strange")"
for pin in $(sed -n 's/^requires = //p' "$source/pyproject.toml" | grep -oE '[a-z-]+==[0-9.]+'); do
  grep -qx "$pin" "$source/cmake/requirements.txt" || fail "cmake/requirements.txt has no $pin"
done

"$source/cmake/wheel.sh" "$build" "$work"
"$source/.venv/bin/python3" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check --no-index \
  --find-links "$source/.venv/wheels" "$work"/mmrec-*.whl \
  -r "$source/cmake/python-tests.txt"

cp "$source"/tests/python/*.py "$source"/python/examples/*.py "$work"
cp "$source/data/tiny_shakespeare/input.txt" "$work/shakespeare.txt"
cd "$work"
unset PYTHONPATH PYTHONHOME
export MMREC_PROGRAMS=$build/bin MMREC_LIBRARY=$build/lib/libmmrec.so
venv/bin/python -I -m pytest -q -p no:cacheprovider .
