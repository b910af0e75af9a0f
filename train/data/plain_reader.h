#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "train/data/data_file.h"
#include "train/data/packing.h"

namespace mmrec {

/// Reads a file from beginning to end without its compressions, which are recognised by content,
/// not by name. An archive's bytes are read as they are.
class PlainReader : public ByteSource {
 public:
  /// Throws an Error if the file is not regular or cannot be read, a DamagedData if it is packed
  /// too many times, for damaged compressed data and an empty file that should be packed. `digest`,
  /// if given, receives the file's raw bytes.
  explicit PlainReader(const DataFile& file, Sha256* digest = nullptr);
  ~PlainReader() override;
  PlainReader(const PlainReader&) = delete;
  PlainReader& operator=(const PlainReader&) = delete;

  /// Throws a DamagedData for damaged compressed data.
  size_t read(std::span<char> bytes) override;
  /// Returns the first kPackingBytes or all bytes, before the first read().
  std::string_view begin() const;
  /// Raw bytes of the file read so far.
  int64_t bytes_read() const;
  /// The outermost compression; kNone if there is none.
  Packing compression() const { return compression_; }
  /// Number of archives and compressions around what is read.
  int layers() const { return layers_; }
  /// Returns whether the file was written to since it was opened.
  bool was_changed() const;

 private:
  class Beginning;
  FileSource* file_;
  std::unique_ptr<Beginning> source_;
  Packing compression_ = Packing::kNone;
  int layers_;
};

}  // namespace mmrec
