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

/// Reads a file from its beginning to its end; what gzip compressed is decompressed, whatever the file is called.
class PlainReader {
 public:
  /// Throws an Error for what is no regular file or cannot be read. `digest`, if there is one, is given the file's own bytes.
  explicit PlainReader(std::filesystem::path path, Sha256* digest = nullptr);
  ~PlainReader();
  PlainReader(const PlainReader&) = delete;
  PlainReader& operator=(const PlainReader&) = delete;

  /// Fills the bytes and returns their number; fewer at the end only. Throws an Error for compressed data that is damaged.
  size_t read(std::span<char> bytes);
  /// Bytes of the file itself that have been read.
  int64_t bytes_read() const;
  bool is_compressed() const;
  /// Whether the file was written to since it was opened.
  bool was_changed() const;

 private:
  std::filesystem::path path_;
  struct Source;
  std::unique_ptr<Source> source_;
};

/// Told how many bytes of a file have been read, now and then; may throw to end the reading.
using ReadObserver = std::function<void(int64_t bytes_read)>;

/// What is to be said of a file that was read.
struct FileFacts {
  std::filesystem::path path;
  int64_t bytes = 0;   ///< of the file itself, those that were read
  std::string sha256;  ///< of them
  bool is_compressed = false;
  bool has_mark = false;     ///< a byte order mark, which is left out
  bool was_changed = false;  ///< while it was read
  bool is_html = false;      ///< though its name does not say so
  bool has_json = false;     ///< a text whose lines are JSON objects
  int64_t zeros = 0;         ///< NUL characters
  int64_t replaced = 0;      ///< documents of JSON lines with half a UTF-16 pair, which is read as U+FFFD
};

/// Calls visit(piece) with a UTF-8 file's text in pieces of about a megabyte that end between characters. A byte order mark at its beginning
/// is left out. Throws an Error with the offset (in the text, if the file is compressed) of the first byte that is not UTF-8, and for
/// what begins like something else than a text (an archive, UTF-16).
FileFacts read_text(const std::filesystem::path& path, const std::function<void(std::string_view piece)>& visit, const ReadObserver& observe);

/// The same of a file of which nothing needs to be found out: one that this program wrote.
void read_own_text(const std::filesystem::path& path, const std::function<void(std::string_view piece)>& visit, const ReadObserver& observe);

/// Calls visit(text) with the field `text` of each line of a UTF-8 file of JSON objects, one a line; empty lines are skipped. What the other
/// fields hold does not matter. Throws an Error with line and byte for what is no such line, or one of more than 32 MB.
FileFacts read_json_lines(const std::filesystem::path& path, const std::function<void(std::string_view text)>& visit, const ReadObserver& observe);

}  // namespace mmrec
