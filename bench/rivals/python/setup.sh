#!/usr/bin/env bash
# Install the rivals (requirements.txt) into .venv-rivals. Returns at once if they are installed.
set -euo pipefail
cd "$(dirname "$0")/../../.."
requirements=bench/rivals/python/requirements.txt venv=.venv-rivals

# The last installation step copies the requirements into the environment. A matching copy means
# that the environment is complete.
cmp -s $requirements $venv/requirements.txt && exit

fail() {
  echo "$1" >&2
  exit 1
}
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  fail "The rivals need Python 3.11 or newer; python3 is $(python3 --version)."
headers=$(python3 -c 'import sysconfig; print(sysconfig.get_path("include"))')
[ -e "$headers/Python.h" ] || fail "torch.compile needs Python's headers. \
As root, run:  apt-get install -y python3-dev  Then try again."

echo "Installing PyTorch and JAX into $venv: 300 MB to download, a few minutes"
rm -rf $venv
python3 -m venv $venv
pip() {
  $venv/bin/pip --quiet --quiet --disable-pip-version-check "$@" ||
    fail "pip could not install $requirements; is there a network? Then try again."
}
# If pip finds only PyTorch's default build, it would also download gigabytes of GPU libraries. So
# install PyTorch alone first and check which build it is.
pip install --no-deps "$(grep '^torch==' $requirements)"
grep -q '^cuda.*= None$' $venv/lib/python3*/site-packages/torch/version.py ||
  fail "pip found only PyTorch's build for GPUs. Set PIP_EXTRA_INDEX_URL to PyTorch's index of CPU \
builds (pytorch.org names it) and try again."
pip install -r $requirements
cp $requirements $venv/requirements.txt
