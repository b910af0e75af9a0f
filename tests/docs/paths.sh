#!/usr/bin/env bash
# paths.sh SOURCES PROGRAMS: the files and folders of this repository that README.md and docs/*.md
# name in backticks or link to must exist, <op> and * in a name stand for anything, and the programs
# in the folder PROGRAMS must have the options that README.md's commands give them.
set -euo pipefail
programs=$2
cd "$1"
folders='\.ci|bench|cmake|data|docs|generators|model|python|runtime|support|tests|train'
examples='squared_relu|rmsnorm_narrow|NAME$'  # the how-tos make these
there=$(find .ci bench cmake data docs generators model python runtime support tests train)
checked=0 status=0

# check BEGIN: reads names, a line each. BEGIN and the name must match the whole path of a file.
check() {
  local name pattern
  while read -r name; do
    checked=$((checked + 1))
    pattern=$(sed -E 's/\./\\./g; s/<[^>]*>|\*/[^\/]*/g; s/\/$//' <<<"$name")
    if ! grep -qE "^$1$pattern\$" <<<"$there"; then
      echo "$document: there is no $name"
      status=1
    fi
  done
}

for document in README.md docs/*.md; do
  words=$(grep -oE '`[^`]+`' "$document" | tr '` ' '\n' | grep -vE "$examples")
  check '' < <(grep -E "^($folders)/[A-Za-z0-9_./<>*-]*$" <<<"$words")
  check '.*/[^/]*' < <(grep -E '^[A-Za-z0-9_]+\.(h|cpp|def|py|sh|cmake)$' <<<"$words")
  check "$(sed 's/[^/]*$//' <<<"$document")" < <(grep -oE '\]\([a-z0-9/-]+\.md' "$document" |
    sed 's/..//')
done

# The commands of README.md that run a program, a line each: of fenced blocks and of backticks.
commands() {
  awk '/^```/ { inside = !inside; next } inside' README.md | sed ':a; /\\$/ { N; s/\\\n//; ba }' |
    sed 's/ #.*//'
  grep -v '^```' README.md | grep -oE '`[^`]*`' | tr -d '`'
}

given=0
while read -r command; do
  program=$(sed -E 's/^build\/bin\/([a-z]+).*/\1/' <<<"$command")
  if ! help=$("$programs/$program" --help); then
    echo "README.md: there is no program $program: $command"
    status=1
    continue
  fi
  for option in $(grep -oE ' --[a-z][a-z0-9-]*' <<<"$command" || true); do
    given=$((given + 1))
    if ! grep -qE -- "^ +(-[a-z],)?$option([ =,]|\$)" <<<"$help"; then
      echo "README.md: $program has no option $option: $command"
      status=1
    fi
  done
done < <(commands | grep -oE 'build/bin/[a-z]+ .*')
((given > 30)) || { echo "only $given options were found"; exit 1; }
((checked > 100)) || { echo "only $checked names were found"; exit 1; }
exit $status
