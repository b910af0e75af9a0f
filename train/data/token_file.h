#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "support/file_descriptor.h"
#include "train/data/tokenizer.h"
#include "train/data/tokens.h"

namespace mmrec {

// A token file is a header of 64 bytes followed by the ids of a text. An id has 1, 2 or 4 bytes, as
// few as the vocabulary needs. All numbers are little-endian. docs/data.md describes the header.

/// What a token file was made from. The file is useless with another tokenizer or text.
struct TokenFileSource {
  int vocabulary;            ///< all ids are below this
  uint32_t tokenizer_crc32;  ///< of the tokenizer's file
  int64_t text_bytes;

  bool operator==(const TokenFileSource&) const = default;
};

/// Writes a new token file piece by piece. Before finish() it has no valid header, so no reader
/// accepts it.
class TokenFileWriter {
 public:
  TokenFileWriter(const std::filesystem::path& path, int vocabulary);
  void append(std::span<const int32_t> ids);
  /// Writes the header. Returns when the file is on disk.
  void finish(const TokenFileSource& source);

 private:
  FileDescriptor file_;
  int width_;
  int64_t count_ = 0;
  uint32_t crc32_ = 0;
  std::vector<std::byte> narrow_;
};

struct TokenFile {
  Tokens tokens;
  TokenFileSource source;
};

/// Opens a token file; its ids stay on disk. Verifies the checksum of the header and, by reading
/// all ids once, their checksum and range. Throws an Error for a file that is no token file, of
/// another version, truncated or altered.
TokenFile read_token_file(const PathAt& path);

}  // namespace mmrec
