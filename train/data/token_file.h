#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "support/file_descriptor.h"
#include "train/data/tokenizer.h"
#include "train/data/tokens.h"

namespace mmrec {

// A token file is a header of 64 bytes and then the ids of a text, 1, 2 or 4 bytes each: as few as the vocabulary needs, and
// all numbers little-endian. docs/data.md has the header's fields.

/// What a token file was made from; it is of no use with another tokenizer or text.
struct TokenFileSource {
  int vocabulary;            ///< ids are below
  uint32_t tokenizer_crc32;  ///< of tokenizer.json
  int64_t text_bytes;

  bool operator==(const TokenFileSource&) const = default;
};

/// Writes a new token file piece by piece. Without finish() it has no header and nobody reads it.
class TokenFileWriter {
 public:
  TokenFileWriter(const std::filesystem::path& path, int vocabulary);
  void append(std::span<const int32_t> ids);
  /// Returns when the file is on the disk.
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

/// Opens a token file, whose ids stay on the disk. Its header and (by reading them once) its ids are compared with their checksums, the
/// ids with the vocabulary. Throws an Error for what is no token file, of another version, truncated or altered.
TokenFile read_token_file(const PathAt& path);

}  // namespace mmrec
