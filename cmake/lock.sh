# lock FOLDER WHAT: waits until no other of these scripts and no `tune` works in the folder, then
# locks them out until this script ends. Start commands with 9<&-: otherwise a helper that outlives
# the script, such as a compiler cache's server, would keep the lock. Without effect on a file
# system without locks.
lock() {
  exec 9<"$1"
  flock -n -E 75 9 2>/dev/null || [ $? != 75 ] || {
    echo "waiting for another $2 in $(realpath "$1")"
    flock 9
  }
}
