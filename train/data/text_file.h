#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "train/data/sha256.h"

namespace mmrec {

/// Reads a file from beginning to end. Decompresses gzip data, recognised by content, not by name.
class PlainReader {
 public:
  /// Throws an Error if the file is not regular or cannot be read. `digest`, if given, receives the
  /// file's raw bytes.
  explicit PlainReader(std::filesystem::path path, Sha256* digest = nullptr);
  ~PlainReader();
  PlainReader(const PlainReader&) = delete;
  PlainReader& operator=(const PlainReader&) = delete;

  /// Fills `bytes` and returns how many were read; fewer only at the end. Throws an Error for
  /// damaged compressed data.
  size_t read(std::span<char> bytes);
  /// Raw bytes of the file read so far.
  int64_t bytes_read() const;
  bool is_compressed() const;
  /// Returns whether the file was written to since it was opened.
  bool was_changed() const;

 private:
  std::filesystem::path path_;
  struct Source;
  std::unique_ptr<Source> source_;
};

/// Called now and then with the bytes read so far of a file; may throw to end the reading.
using ReadObserver = std::function<void(int64_t bytes_read)>;

/// Findings about a file that was read.
struct FileFacts {
  std::filesystem::path path;
  int64_t bytes = 0;   ///< raw bytes read
  std::string sha256;  ///< of those bytes
  bool is_compressed = false;
  bool has_mark = false;     ///< has a byte order mark (left out of the text)
  bool was_changed = false;  ///< while it was being read
  bool is_html = false;      ///< HTML, although its name does not say so
  bool has_json = false;     ///< text whose lines are JSON objects
  int64_t zeros = 0;         ///< NUL characters
  int64_t replaced = 0;      ///< JSON lines documents with half a UTF-16 pair, read as U+FFFD
};

/// Reads a UTF-8 file. Calls visit(piece) with pieces of about 1 MB that end between characters.
/// Skips a leading byte order mark. Throws an Error with the offset of the first byte that is not
/// UTF-8 (an offset in the decompressed text if the file is compressed), and for content that
/// begins like something other than text (an archive, UTF-16).
FileFacts read_text(const std::filesystem::path& path,
                    const std::function<void(std::string_view piece)>& visit,
                    const ReadObserver& observe);

/// Like read_text, for a file that this program wrote: skips all inspection.
void read_own_text(const std::filesystem::path& path,
                   const std::function<void(std::string_view piece)>& visit,
                   const ReadObserver& observe);

/// Reads a UTF-8 file of JSON objects, one per line; skips empty lines. Calls visit(text) with the
/// field `text` of each. Other fields are ignored. Throws an Error with line and byte for an
/// invalid line or one of more than 32 MB.
FileFacts read_json_lines(const std::filesystem::path& path,
                          const std::function<void(std::string_view text)>& visit,
                          const ReadObserver& observe);

}  // namespace mmrec
