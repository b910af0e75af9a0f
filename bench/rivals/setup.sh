#!/usr/bin/env bash
# Installs the rivals, requirements.txt, into .venv-rivals. Quick when they are there.
set -euo pipefail
cd "$(dirname "$0")/../.."
requirements=bench/rivals/requirements.txt venv=.venv-rivals

# The virtual environment is whole when it holds a copy of the requirements it was made from.
cmp -s $requirements $venv/requirements.txt && exit

fail() {
  echo "$1" >&2
  exit 1
}
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "The rivals need Python 3.11 or newer; python3 is $(python3 --version)."
python3 -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' ||
  fail "torch.compile needs Python's headers. As root, run:  apt-get install -y python3-dev  Then try again."

echo "Installing PyTorch and JAX into $venv: 300 MB to download, a few minutes"
rm -rf $venv
python3 -m venv $venv
pip() { $venv/bin/pip --quiet --quiet --disable-pip-version-check "$@" || fail "pip could not install $requirements; is there a network? Then try again."; }
# Its ordinary build brings gigabytes for GPUs. PyTorch's own index has one for CPUs, +cpu, which pip takes for the newer of
# the two where it finds both; asked for by itself because pip would look for everything else there too.
pip install --no-deps --extra-index-url https://download.pytorch.org/whl/cpu "$(grep '^torch==' $requirements)"
grep -q '^cuda.*= None$' $venv/lib/python3*/site-packages/torch/version.py ||
  fail "pip found only PyTorch's build for GPUs; is https://download.pytorch.org/whl/cpu within reach? Then try again."
pip install -r $requirements
cp $requirements $venv/requirements.txt
