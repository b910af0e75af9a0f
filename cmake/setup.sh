#!/usr/bin/env bash
# Installs what MM-Rec needs to build on Debian 12 and 13: the packages of packages.txt with apt,
# the tools of requirements.txt into .venv, and the wheels of python-tests.txt, which are installed
# nowhere, into .venv/wheels. Fast if nothing is missing. Uses sudo unless run as root. Installs the
# packages that are named as arguments too. A system without apt is asked for what is missing.
set -euo pipefail
cd "$(dirname "$0")/.."
source cmake/lock.sh
lock cmake set-up

# is_here NEEDED: a program or a <header>, as packages.txt has them
is_here() {
  case $1 in
    '<'*) "${CXX:-g++}" -x c++ -E - <<<"#include $1" ;;
    *) command -v "$1" ;;
  esac >/dev/null 2>&1
}

if ! command -v apt-get >/dev/null; then
  missing=("$@")
  while read -r package needed; do
    [ -z "$needed" ] || is_here "$needed" || missing+=("$package ($needed)")
  done < <(sed '/^#/d' cmake/packages.txt)
  if [ ${#missing[@]} -gt 0 ]; then
    {
      echo 'This system has no apt, and the set-up installs packages of Debian and Ubuntu only.'
      echo 'Missing here, by the name of the package in Debian:'
      printf '  %s\n' "${missing[@]}"
      echo 'Install what has these programs and headers, then try again.'
    } >&2
    exit 1
  fi
else
  missing=()
  for package in $(sed '/^#/d; s/ .*//' cmake/packages.txt) "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
      missing+=("$package")
  done
fi

if [ ${#missing[@]} -gt 0 ]; then
  install="apt-get update && apt-get install -y --no-install-recommends ${missing[*]}"
  if [ "$(id -u)" = 0 ]; then
    as_root=(bash -c)
  elif command -v sudo >/dev/null && sudo -v; then
    as_root=(sudo bash -c)
  else
    printf '%s As root, run:\n  %s\nThen try again.\n' \
      'These packages are missing and this account can not install them.' "$install" >&2
    exit 1
  fi
  echo "Installing Debian packages: ${missing[*]}"
  "${as_root[@]}" "export DEBIAN_FRONTEND=noninteractive; $install" >.setup.log 2>&1 9<&- || {
    tail -n 20 .setup.log >&2
    echo "The installation of Debian packages failed (all of its output: .setup.log)." >&2
    echo "By hand: $install" >&2
    exit 1
  }
  rm -f .setup.log
fi

# The virtual environment is complete if it holds a copy of the requirements it was made from. Its
# programs contain its path: remake it if it was copied or moved.
here=$(pwd -P)/.venv/bin/
requirements=(cmake/requirements.txt cmake/python-tests.txt)
if ! cat "${requirements[@]}" | cmp -s - .venv/requirements.txt ||
  ! grep -qF -e "#!$here" -e " $here" -e "\"$here" .venv/bin/cmake; then
  echo "Installing Halide, CMake and Ninja into .venv"
  rm -rf .venv
  python3 -m venv .venv 9<&-
  pip=(.venv/bin/pip --quiet --disable-pip-version-check)
  { "${pip[@]}" install --no-deps -r "${requirements[0]}" &&
    "${pip[@]}" download --no-deps -r "${requirements[1]}" -d .venv/wheels; } 9<&- || {
    echo "pip could not install ${requirements[*]}; is there a network? Then try again." >&2
    exit 1
  }
  cat "${requirements[@]}" >.venv/requirements.txt
fi
