#include "support/directory_lock.h"

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>
#include <string>
#include <system_error>

#include "support/error.h"

namespace mmrec {

namespace {

FileDescriptor open_directory(const PathAt& path) { return {"open", path, O_RDONLY | O_DIRECTORY}; }

}  // namespace

DirectoryLock::DirectoryLock(const PathAt& directory)
    : directory_(open_directory(directory)),
      shown_(directory.shown()),
      held_(::flock(directory_, LOCK_EX | LOCK_NB) == 0) {
  if (!held_ && errno == EWOULDBLOCK)
    fail("{} is in use by another run; wait until it ends, stop it, or choose another --out",
         shown_.string());
}

std::filesystem::path DirectoryLock::current_path() const {
  if (is_same(path(), shown_)) return shown_;
  std::error_code unknown;  // fails without /proc
  const std::filesystem::path now =
      std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(directory_), unknown);
  return is_same(path(), now) ? now : shown_;  // the directory may have been deleted
}

bool is_locked(const PathAt& directory) {
  return ::flock(open_directory(directory), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

}  // namespace mmrec
