#include "train/directory_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <system_error>
#include <utility>

#include "runtime/error.h"

namespace mmrec {

namespace {

/// A descriptor that holds the lock; nothing where another process does.
std::optional<int> locked(const std::filesystem::path& directory) {
  const int descriptor = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) fail("cannot open {}: {}; check the path and its permissions", directory.string(), std::generic_category().message(errno));
  if (::flock(descriptor, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return descriptor;
  ::close(descriptor);
  return std::nullopt;
}

}  // namespace

DirectoryLock::DirectoryLock(const std::filesystem::path& directory) {
  const std::optional<int> descriptor = locked(directory);
  if (!descriptor) fail("{} is in use by another run; wait until it ends, stop it, or choose another --out", directory.string());
  descriptor_ = *descriptor;
}

DirectoryLock::~DirectoryLock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

DirectoryLock::DirectoryLock(DirectoryLock&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}

bool is_locked(const std::filesystem::path& directory) {
  const std::optional<int> descriptor = locked(directory);
  if (descriptor) ::close(*descriptor);
  return !descriptor;
}

}  // namespace mmrec
