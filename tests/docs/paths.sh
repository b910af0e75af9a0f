#!/usr/bin/env bash
# paths.sh SOURCES: the files and folders of this repository that README.md and docs/*.md name in
# backticks or link to must exist. <op> and * in a name stand for anything.
set -euo pipefail
cd "$1"
folders='\.ci|bench|cmake|data|docs|generators|model|runtime|support|tests|train'
examples='squared_relu|rmsnorm_narrow|NAME$'  # the how-tos make these
there=$(find .ci bench cmake data docs generators model runtime support tests train)
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
((checked > 100)) || { echo "only $checked names were found"; exit 1; }
exit $status
