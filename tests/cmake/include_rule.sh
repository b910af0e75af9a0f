#!/usr/bin/env bash
# Checks that a file includes only headers of its own folder and of the folders that its library
# links, as listed in folders.txt, one line per folder. Lists (.def) are for everybody. Tests may
# include everything; nothing may include tests. Usage: include_rule.sh SOURCES FOLDERS.TXT
set -euo pipefail
cd "$1"
status=0
checked=0
for folder in $(find support runtime generators model train bench -name '*.h' -printf '%h\n' -o -name '*.cpp' -printf '%h\n' | sort -u); do
  owner=$folder  # a folder without a library belongs to its parent
  until rule=$(grep -E "^$owner " "$2"); do
    [[ $owner == */* ]] || { echo "$folder: no library and so no rule"; exit 1; }
    owner=${owner%/*}
  done
  while IFS=: read -r file included; do
    checked=$((checked + 1))
    from=${included%/*}
    [[ $included != generators/kernels.def ]] || from=generators/registry  # which reads this list for all
    until [[ " $rule " == *" $from "* ]]; do
      if [[ $from != */* ]]; then
        echo "$file includes $included: $owner may include $rule only (USES in its CMakeLists.txt)"
        status=1
        break
      fi
      from=${from%/*}
    done
  done < <(grep -oE '^#include "[^"]+/[^"]+\.h"' /dev/null "$folder"/*.h "$folder"/*.cpp 2>/dev/null | sed 's/#include "\(.*\)"/\1/')
done
((checked > 100)) || { echo "only $checked includes were found"; exit 1; }
exit $status
