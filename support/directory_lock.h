#pragma once

#include <filesystem>

#include "support/file_descriptor.h"

namespace mmrec {

/// Holds a directory open and locks it against other processes that use this class. The system
/// drops the lock when the process ends, however that happens; nothing is left in the directory.
/// Without effect on a file system without locks.
class DirectoryLock {
 public:
  /// Throws an Error if another process holds the lock.
  explicit DirectoryLock(const PathAt& directory);

  /// The directory, or a path in it. Both still lead there after the directory was renamed.
  /// Messages show the name it was opened by.
  PathAt path() const { return {directory_, shown_}; }
  PathAt operator/(const std::filesystem::path& below) const { return path() / below; }
  /// Returns whether the directory is locked. False on a file system without locks: other processes
  /// may be using the directory.
  bool is_held() const { return held_; }
  /// Returns the directory's current name.
  std::filesystem::path current_path() const;

 private:
  FileDescriptor directory_;
  std::filesystem::path shown_;
  bool held_;
};

/// Returns whether another process holds the lock.
bool is_locked(const PathAt& directory);

}  // namespace mmrec
