#pragma once

#include <filesystem>

namespace mmrec {

/// Keeps other processes that use this class out of a directory while it lives. The system drops the lock with the process,
/// however that ends; nothing is left in the directory. On a file system without locks it does nothing.
class DirectoryLock {
 public:
  /// Throws an Error where another process holds the lock.
  explicit DirectoryLock(const std::filesystem::path& directory);
  ~DirectoryLock();
  DirectoryLock(DirectoryLock&& other) noexcept;
  DirectoryLock& operator=(DirectoryLock&&) = delete;

 private:
  int descriptor_;
};

/// Whether another process holds it.
bool is_locked(const std::filesystem::path& directory);

}  // namespace mmrec
