#!/usr/bin/env bash
# build_scripts.sh SOURCE_DIR CMAKE NINJA: tests cmake/build.sh, setup.sh and OwnFolder.cmake with a
# project of a single command: a tree that was copied or moved, two builds at once, a system without
# apt.
set -euo pipefail
source=$1
work=$(mktemp -d)
helpers=$work/tree/build/result.helpers
trap 'kill $(cat "$helpers" 2>/dev/null) 2>/dev/null; rm -rf "$work"' EXIT
cd "$work"
unset CXX CC MMREC_TARGET MMREC_SCHEDULE_DIR

fail() {
  printf 'build_scripts.sh: %s\n' "$*" >&2
  cat said >&2
  exit 1
}
said() { grep -qF -- "$1" said || fail "expected to read '$1'"; }
did_not_say() { ! grep -qF -- "$1" said || fail "did not expect to read '$1'"; }
is() { [ "$(cat "$1")" = "$2" ] || fail "$1 says '$(cat "$1")', not '$2'"; }

# All Debian packages count as installed. pip installs one script, which contains its folder's path
# as pip's scripts do.
mkdir tools
ln -s "$2" tools/cmake
ln -s "$3" tools/ninja
printf '#!/bin/sh\necho installed\n' >tools/dpkg-query
cat >tools/python3 <<'EOF'
#!/bin/sh
mkdir -p .venv/bin
printf '#!/bin/sh\nprintf "#!%%s/.venv/bin/python\\n" "$(pwd -P)" >.venv/bin/cmake\n' >.venv/bin/pip
chmod +x .venv/bin/pip
EOF
ln -s /bin/true tools/apt-get
chmod +x tools/dpkg-query tools/python3
export PATH=$work/tools:$PATH

mkdir -p tree/cmake
cp "$source"/cmake/{build.sh,setup.sh,lock.sh,OwnFolder.cmake} tree/cmake
cp "$source"/cmake/{packages,requirements,python-tests}.txt tree/cmake
cp "$source/CMakePresets.json" tree
cat >tree/CMakeLists.txt <<'EOF'
cmake_minimum_required(VERSION 3.28)
project(toy NONE)
set(MMREC_SCHEDULE_DIR "$ENV{MMREC_SCHEDULE_DIR}" CACHE PATH "")
add_custom_command(OUTPUT result DEPENDS text
  COMMAND sh ${PROJECT_SOURCE_DIR}/step ${PROJECT_SOURCE_DIR}/text result)
add_custom_target(toy ALL DEPENDS result)
add_custom_target(other COMMAND echo other >other)
include(cmake/OwnFolder.cmake)
mmrec_own_folder()
EOF
echo 'cat "$1" >"$2"' >tree/step
echo first >tree/text
build() { "$1/cmake/build.sh" release build >said 2>&1 || fail "$1 was not built"; }
setup() { "$1/cmake/setup.sh" >said 2>&1 || fail "$1 was not set up"; }

setup tree
said 'Installing Halide'
build tree
is tree/build/result first
setup tree
did_not_say 'Installing'
cp tree/build/configure.log before
build tree
cmp -s before tree/build/configure.log || fail "nothing had changed, and it was configured again"

# A single target.
tree/cmake/build.sh release build other >said 2>&1 || fail "the other target was not built"
is tree/build/other other
is tree/build/result first

# A copy builds its own sources into its own folder. `cmake --build` alone builds nothing there and
# says what to do.
cp -a tree copy
echo second >copy/text
! cmake --build copy/build >said 2>&1 ||
  fail "the copy's build folder, which is the tree's, was built"
said "was made for $work/tree/build"
said 'make build'
setup copy
said 'Installing Halide'
build copy
is copy/build/result second
is tree/build/result first
cmake --build copy/build >said 2>&1 || fail "the copy was not built"

# A moved tree; also if the new path is a suffix of the old one.
mkdir -p "outer$work"
cp -a tree "outer$work/moved"
(cd "outer$work/moved" && ./cmake/setup.sh && ./cmake/build.sh release build) >said 2>&1 ||
  fail "not built"
mv "outer$work/moved" moved
echo third >moved/text
setup moved
said 'Installing Halide'
build moved
is moved/build/result third

# The second of two builds of a folder waits. A helper that outlives the first build does not keep
# it waiting.
cat >tree/step <<'EOF'
mkdir "$2.busy" || echo overlap >"$2.overlap"
sleep 1
cat "$1" >"$2"
rmdir "$2.busy"
sleep 60 >/dev/null 2>&1 &
echo $! >>"$2.helpers"
EOF
echo fourth >tree/text
tree/cmake/build.sh release build >first 2>&1 &
until [ -e tree/build/result.busy ]; do sleep 0.01; done
echo fifth >tree/text
build tree
said "waiting for another build in $work/tree/build"
wait $! || fail "the first build failed: $(cat first)"
is tree/build/result fifth
[ ! -e tree/build/result.overlap ] || fail "two builds ran at once"
build tree
did_not_say 'waiting'

# Two set-ups do not run at once either.
(flock 9 && sleep 1) 9<tree/cmake &
until ! flock -n tree/cmake true; do sleep 0.01; done
setup tree
said "waiting for another set-up in $work/tree/cmake"
wait

# A system without apt gets the list of what is missing, and nothing else happens. One that has all
# is set up.
mkdir bare
for program in bash cat chmod cmp dirname flock grep mkdir rm sed; do
  ln -s "$(type -P $program)" bare
done
ln -s "$work/tools/python3" bare
cat >bare/g++ <<'EOF'
#!/bin/sh
read -r line
[ "$line" != '#include <zlib.h>' ]
EOF
chmod +x bare/g++
rm -rf tree/.venv
! PATH=$work/bare tree/cmake/setup.sh >said 2>&1 || fail "what is missing was not missed"
said '  help2man (help2man)'
said '  zlib1g-dev (<zlib.h>)'
did_not_say 'archive.h'
did_not_say 'python3-venv'
did_not_say 'g++ (g++)'
[ ! -e tree/.venv ] || fail "it was set up without what it needs"
sed '/^#/d' tree/cmake/packages.txt | while read -r _ needed; do
  [ -e "bare/$needed" ] || [[ -z $needed || $needed = '<'* ]] || ln -s /bin/true "bare/$needed"
done
sed -i '/zlib/d' tree/cmake/packages.txt
PATH=$work/bare tree/cmake/setup.sh >said 2>&1 || fail "a system without apt was not set up"
said 'Installing Halide'

echo 'all as told'
