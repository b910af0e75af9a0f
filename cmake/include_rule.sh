#!/usr/bin/env bash
# include_rule.sh SOURCES FOLDERS.TXT: refuses includes that break the rule of Folders.cmake, which
# writes folders.txt: a line for each folder, with the folder and those it may include. A folder
# without a line belongs to the one above it. kernels.def goes with the registry that reads it.
# Every build begins with this, so it starts few processes.
set -euo pipefail
cd "$1"
tops=$(sed 's/[ /].*//' "$2" | sort -u)
# shellcheck disable=SC2086  # a word for each folder
grep -rnE --include='*.h*' --include='*.c*' --include='*.def' \
  '^[[:space:]]*#[[:space:]]*(include|import)' $tops | awk -v place_of_list=generators/kernels.def '
  # the folder in whose line of folders.txt the path is
  function owner(path) {
    if (path == place_of_list)
      path = "generators/registry"
    while (!(path in rule))
      if (!sub("/[^/]*$", "", path))
        return "no library"
    return path
  }
  function refuse(why) {
    print place ": " why
    status = 1
  }
  FILENAME != "-" {
    rule[$1] = " " $0 " "
    sub("/.*", "", $1)
    is_top[$1]
    next
  }
  {
    checked = 1
    match($0, /:[0-9]+:/)
    file = substr($0, 1, RSTART - 1)
    place = substr($0, 1, RSTART + RLENGTH - 2)
    line = substr($0, RSTART + RLENGTH)
    sub(/[^\/]*_main\.cpp$/, "*_main.cpp", file)
    to = owner(file)
    if (!match(line, /<[^>]*>|"[^"]*"/)) {
      refuse("write the name of the header, so that it can be checked")
      next
    }
    header = substr(line, RSTART + 1, RLENGTH - 2)
    if (header ~ /(^|\/)\.\.?\//) {
      refuse("write the path of the header from the top folder, without . and ..")
      next
    }
    top = header
    sub("/.*", "", top)
    if (header !~ "/")  # of the same folder, of the language, or written by the build
      next
    if (substr(line, RSTART, 1) == "<" && !(top in is_top) && top != "tests")
      next  # of another project
    if (index(rule[to], " " owner(header) " ") == 0)
      refuse(header " belongs to " owner(header) ", which " to " may not include: " \
        "USES in its CMakeLists.txt does not lead there")
  }
  END {
    if (!checked)
      print "no includes were found"
    exit (status || !checked)
  }' "$2" -
