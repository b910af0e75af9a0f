#!/usr/bin/env bash
# Install the libraries of requirements.txt into .venv-products, where bench finds them. Returns at
# once if they are installed.
set -euo pipefail
cd "$(dirname "$0")/../.."
requirements=bench/rivals/requirements.txt venv=.venv-products

# The last installation step copies the requirements into the environment.
cmp -s $requirements $venv/requirements.txt && exit
echo "Installing MKL and OpenBLAS into $venv: 230 MB to download"
rm -rf $venv
python3 -m venv $venv
# --no-deps: MKL runs on GCC's OpenMP, not on the threads of two more packages
$venv/bin/pip --quiet --quiet --disable-pip-version-check install --no-deps -r $requirements || {
  echo "pip could not install $requirements; is there a network? Then try again." >&2
  exit 1
}
cp $requirements $venv/requirements.txt
