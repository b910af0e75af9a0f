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

# The wheel as `pip wheel` makes it, but of what is compiled already.
bin=$source/.venv/bin
"$bin/cmake" --install "$build" --component python --prefix "$work/stage" >/dev/null
cp "$source"/python/mmrec/*.py* "$source/python/mmrec/py.typed" "$work/stage/mmrec"
"$bin/python3" -m pip wheel --quiet --disable-pip-version-check --no-build-isolation --no-deps \
  --config-settings=wheel.cmake=false --config-settings=wheel.platlib=true \
  --config-settings=wheel.packages="$work/stage/mmrec" --wheel-dir "$work" "$source"
"$bin/python3" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check --no-index \
  --find-links "$source/.venv/wheels" "$work"/mmrec-*.whl -r "$source/cmake/python-tests.txt"

mkdir "$work/tests"
cp "$source"/tests/python/*.py "$source"/python/examples/*.py "$work/tests"
cp "$source/data/tiny_shakespeare/input.txt" "$work/tests/shakespeare.txt"
cd "$work/tests"
unset PYTHONPATH PYTHONHOME
export MMREC_PROGRAMS=$build/bin MMREC_LIBRARY=$build/lib/libmmrec.so
"$work/venv/bin/python" -I -m pytest -q -p no:cacheprovider .
