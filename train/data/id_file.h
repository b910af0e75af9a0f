#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "support/file_descriptor.h"

namespace mmrec {

/// The ids of a token file, which stay on the disk and are read in pieces, in any order. They are read from the file that was checked: one
/// that takes its name does not show, and a file that was written to in between is checked again before its bytes are used.
class IdFile {
 public:
  /// Where the ids are, and what is known of them.
  struct FileLayout {
    int64_t begin, count;
    int width;            ///< bytes an id: 1, 2 or 4, little-endian
    uint32_t vocabulary;  ///< ids are below
    uint32_t crc32;
  };

  /// Throws an Error with the reason where the file cannot be read.
  explicit IdFile(const PathAt& path);

  int64_t bytes() const { return stamp_.size; }
  /// The file's first bytes; returns their number, which is less only where the file has no more.
  size_t begin(std::span<std::byte> bytes) const { return file_.read_at(0, bytes); }

  /// Reads all ids once. Throws an Error where they are not as the layout says.
  void check(const FileLayout& layout);
  const FileLayout& layout() const { return layout_; }

  /// The ids from place `first` on, as they are stored; check() must have been there. Throws an Error where the file has others now.
  void read(int64_t first, std::span<std::byte> bytes);

 private:
  /// What is wrong with the ids, in words that follow the file's name; "" for nothing.
  std::string problem();

  std::string name_;
  FileDescriptor file_;
  FileStamp stamp_;  // of the content that was checked
  FileLayout layout_{};
};

}  // namespace mmrec
