#include "train/directory_lock.h"

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>
#include <string>
#include <system_error>

#include "runtime/error.h"

namespace mmrec {

namespace {

FileDescriptor open_directory(const PathAt& path) { return {"open", path, O_RDONLY | O_DIRECTORY}; }

/// False where another process holds the lock.
bool take_lock(const FileDescriptor& directory) { return ::flock(directory, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK; }

}  // namespace

DirectoryLock::DirectoryLock(const PathAt& directory) : directory_(open_directory(directory)), shown_(directory.shown()) {
  if (!take_lock(directory_)) fail("{} is in use by another run; wait until it ends, stop it, or choose another --out", shown_.string());
}

std::filesystem::path DirectoryLock::current_path() const {
  if (is_same(path(), shown_)) return shown_;
  std::error_code unknown;  // no /proc
  const std::filesystem::path now = std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(directory_), unknown);
  return unknown ? shown_ : now;
}

bool is_locked(const PathAt& directory) { return !take_lock(open_directory(directory)); }

}  // namespace mmrec
