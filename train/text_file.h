#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string_view>

namespace mmrec {

/// Reads a file from its beginning to its end; what gzip compressed is decompressed, whatever the file is called.
class PlainReader {
 public:
  /// Throws an Error for what is no regular file or cannot be read.
  explicit PlainReader(std::filesystem::path path);
  ~PlainReader();
  PlainReader(const PlainReader&) = delete;
  PlainReader& operator=(const PlainReader&) = delete;

  /// Fills the bytes and returns their number; fewer at the end only. Throws an Error for compressed data that is damaged.
  size_t read(std::span<char> bytes);
  /// Bytes of the file itself that have been read.
  int64_t bytes_read() const;

 private:
  std::filesystem::path path_;
  struct Source;
  std::unique_ptr<Source> source_;
};

/// Told how many bytes of a file have been read, now and then; may throw to end the reading.
using ReadObserver = std::function<void(int64_t bytes_read)>;

/// Calls visit(piece) with a UTF-8 file's text in pieces of about a megabyte that end between characters. Throws an Error with
/// the offset (in the text, if the file is compressed) of the first byte that is not UTF-8.
void read_text(const std::filesystem::path& path, const std::function<void(std::string_view piece)>& visit, const ReadObserver& observe);

/// Calls visit(text) with the field `text` of each line of a UTF-8 file of JSON objects, one a line; empty lines are skipped.
/// Throws an Error with line and byte for what is no such line, or one of more than 32 MB.
void read_json_lines(const std::filesystem::path& path, const std::function<void(std::string_view text)>& visit, const ReadObserver& observe);

}  // namespace mmrec
