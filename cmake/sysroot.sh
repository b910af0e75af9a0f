#!/usr/bin/env bash
# sysroot.sh ARCHITECTURE FOLDER: puts the libraries of packages.txt for another architecture,
# aarch64 or riscv64, into FOLDER, where the presets of these names look for them. Fast if they are
# there. Nothing outside FOLDER changes but for packages of this machine that are missing: the
# compiler, qemu-user, and mmdebstrap, which downloads and unpacks.
set -euo pipefail
cd "$(dirname "$0")/.."
architecture=$1 folder=$(realpath -ms "$2")
case $architecture in
  # Debian 12 has no RISC-V
  aarch64) debian=arm64 suite=bookworm ;;
  riscv64) debian=riscv64 suite=trixie ;;
  *)
    echo "there is no set-up for $architecture, only for aarch64 and riscv64" >&2
    exit 2
    ;;
esac
cmake/setup.sh "g++-$architecture-linux-gnu" qemu-user mmdebstrap

packages=$(sed -n '/^lib\|^nlohmann\|^zlib/s/ .*//p' cmake/packages.txt | grep -v openmpi | paste -sd ,)
wanted="$suite $packages in $folder"
[ "$(cat "$folder/.complete" 2>/dev/null)" != "$wanted" ] || exit 0
echo "Unpacking libraries for $architecture into $folder"
rm -rf "$folder"
mkdir -p "$(dirname "$folder")"
mmdebstrap --quiet --variant=extract --architectures=$debian --include="libc6,libgomp1,$packages" \
  --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr $suite "$folder" http://deb.debian.org/debian
# Packages link to paths of the root, which this folder is not.
find "$folder/usr/lib" -type l -lname '/*' | while read -r link; do
  ln -sfrT "$folder$(readlink "$link")" "$link"
done
echo "$wanted" >"$folder/.complete"
