#!/usr/bin/env bash
# man_page.sh PROGRAM PAGE.gz: writes the manual page of a program by what its --help says.
set -euo pipefail
does=$("$1" --help | head -n 1)
help2man --no-info --name "${does%.}" "$1" | gzip -9n >"$2"
