#!/usr/bin/env bash
# setup.sh products|frameworks: installs the libraries whose products bench times into
# .venv-products, or PyTorch and JAX into .venv-rivals and JAX 0.4.31 into .venv-old-jax. Returns at
# once if they are installed.
set -euo pipefail
cd "$(dirname "$0")/../.."

fail() {
  echo "$1" >&2
  exit 1
}

pip() {
  "$venv/bin/pip" --quiet --quiet --disable-pip-version-check "$@" ||
    fail "pip could not install $requirements; is there a network? Then try again."
}

# environment VENV REQUIREMENTS WHAT STEP: makes an environment and has STEP fill it
environment() {
  venv=$1 requirements=$2
  # The last step copies the requirements into the environment. A matching copy means that the
  # environment is complete.
  if cmp -s "$requirements" "$venv/requirements.txt"; then return; fi
  echo "Installing $3 to download"
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$4"
  cp "$requirements" "$venv/requirements.txt"
}

python_is_older_than() {
  python3 -c "import sys; sys.exit(sys.version_info >= ($1, $2))"
}

# --no-deps: MKL runs on GCC's OpenMP, not on the threads of two more packages
products() {
  pip install --no-deps -r "$requirements"
}

frameworks() {
  if python_is_older_than 3 11; then
    fail "The rivals need Python 3.11 or newer; python3 is $(python3 --version)."
  fi
  local headers
  headers=$(python3 -c 'import sysconfig; print(sysconfig.get_path("include"))')
  [ -e "$headers/Python.h" ] || fail "torch.compile needs Python's headers. \
As root, run:  apt-get install -y python3-dev  Then try again."
  # If pip finds only PyTorch's default build, it would also download gigabytes of GPU libraries. So
  # install PyTorch alone first and check which build it is.
  pip install --no-deps "$(grep '^torch==' "$requirements")"
  grep -q '^cuda.*= None$' "$venv"/lib/python3*/site-packages/torch/version.py ||
    fail "pip found only PyTorch's build for GPUs. Set PIP_EXTRA_INDEX_URL to PyTorch's index of CPU \
builds (pytorch.org names it) and try again."
  pip install -r "$requirements"
}

old_jax() {
  pip install -r "$requirements"
}

folder=bench/rivals
case ${1-} in
  products)
    environment .venv-products $folder/requirements.txt \
      "MKL, OpenBLAS and oneDNN with its SYCL into .venv-products: 810 MB" products
    ;;
  frameworks)
    environment .venv-rivals $folder/python/requirements.txt \
      "PyTorch and JAX into .venv-rivals: a few minutes, 300 MB" frameworks
    if python_is_older_than 3 13; then
      environment .venv-old-jax $folder/python/old_jax_requirements.txt \
        "JAX 0.4.31 into .venv-old-jax: 150 MB" old_jax
    fi
    ;;
  *) fail "usage: setup.sh products|frameworks" ;;
esac
