#pragma once

#include <filesystem>

#include "support/file_descriptor.h"

namespace mmrec {

/// Holds a directory open and keeps other processes that use this class out of it while it lives. The system drops the lock with
/// the process, however that ends; nothing is left in the directory. On a file system without locks it keeps nobody out.
class DirectoryLock {
 public:
  /// Throws an Error where another process holds the lock.
  explicit DirectoryLock(const PathAt& directory);

  /// The directory, by what it was called when it was opened, and a path in it. They lead there also when it has been renamed.
  PathAt path() const { return {directory_, shown_}; }
  PathAt operator/(const std::filesystem::path& below) const { return path() / below; }
  /// Whether the file system has locks: else others may be in the directory.
  bool is_held() const { return held_; }
  /// What it is called now.
  std::filesystem::path current_path() const;

 private:
  FileDescriptor directory_;
  std::filesystem::path shown_;
  bool held_;
};

/// Whether another process holds it.
bool is_locked(const PathAt& directory);

}  // namespace mmrec
