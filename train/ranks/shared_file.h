#pragma once

#include <filesystem>
#include <string>

#include "support/file_descriptor.h"
#include "support/path_at.h"

namespace mmrec {

// Whether all ranks see a folder of the leader's: it has a file there for a while, and the others
// look for it.

/// An empty file as long as it lives. Throws an Error if there is one of that name.
class TemporaryFile {
 public:
  explicit TemporaryFile(PathAt path);
  ~TemporaryFile();
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  std::string path() const { return path_.path().string(); }

 private:
  const PathAt path_;
  const FileDescriptor file_;
};

/// Waits a little for the file: a network file system may show it late.
bool appears(const std::filesystem::path& file);

}  // namespace mmrec
