# lock FOLDER WHAT: waits until no other script of these, and no `tune`, works in the folder, and keeps them out until this script ends.
# Commands are to be started with 9<&-: a helper that outlives the script, of a compiler cache for instance, would keep the lock.
# On a file system without locks it does nothing.
lock() {
  exec 9<"$1"
  flock -n -E 75 9 2>/dev/null || [ $? != 75 ] || {
    echo "waiting for another $2 in $(realpath "$1")"
    flock 9
  }
}
