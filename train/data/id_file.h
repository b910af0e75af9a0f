#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "support/file_descriptor.h"

namespace mmrec {

/// The ids of a token file on disk, readable in pieces and in any order. The file that was checked
/// stays open: a new file of the same name does not matter. If the file is written to, it is
/// checked again before its bytes are used.
class IdFile {
 public:
  /// Position and properties of the ids.
  struct FileLayout {
    int64_t begin, count;
    int width;            ///< bytes per id: 1, 2 or 4, little-endian
    uint32_t vocabulary;  ///< all ids are below this
    uint32_t crc32;
  };

  /// Throws an Error with the reason if the file cannot be read.
  explicit IdFile(const PathAt& path);

  int64_t bytes() const { return stamp_.size; }
  /// Reads the file's first bytes. Returns their number; it is smaller only if the file is shorter.
  size_t begin(std::span<std::byte> bytes) const { return file_.read_at(0, bytes); }

  /// Reads all ids once. Throws an Error if they contradict the layout.
  void check(const FileLayout& layout);
  const FileLayout& layout() const { return layout_; }

  /// Reads ids from index `first` on, as stored. Call check() before. Throws an Error if the file's
  /// ids have changed.
  void read(int64_t first, std::span<std::byte> bytes);

 private:
  /// Returns what is wrong with the ids, in words that follow the file's name; "" if nothing.
  std::string problem();

  std::string name_;
  FileDescriptor file_;
  FileStamp stamp_;  // of the checked content
  FileLayout layout_{};
};

}  // namespace mmrec
