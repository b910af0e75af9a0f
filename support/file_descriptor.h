#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "support/path_at.h"

namespace mmrec {

/// The kind of what a path leads to, `not_found` for nothing. Throws as fail_on_file does for what cannot be looked at.
std::filesystem::file_type kind_of_file(const std::filesystem::path& path);

/// "cannot <action> <path>: <the reason of errno's value code>; <what to do>".
std::string file_problem(const char* action, const std::filesystem::path& path, int code);
/// Throws it as an Error.
[[noreturn]] void fail_on_file(const char* action, const std::filesystem::path& path, int code);

/// What a change of a file's content changes: the size, and when the file was changed last (its ctime, which nobody can set).
struct FileStamp {
  int64_t size, seconds, nanoseconds;
  bool operator==(const FileStamp&) const = default;
};

/// An open file or directory, closed with its owner. Everything here throws as fail_on_file does.
class FileDescriptor {
 public:
  /// `action` ("read", "write") is what fails where the file cannot be opened; flags are those of open(). Errors call the file
  /// `name` where that is given: a temporary file that the user need not know.
  FileDescriptor(const char* action, const PathAt& path, int flags, std::filesystem::path name = {});
  ~FileDescriptor();
  FileDescriptor(FileDescriptor&& other) noexcept;
  FileDescriptor& operator=(FileDescriptor&&) = delete;

  operator int() const { return value_; }

  int64_t size() const { return stamp().size; }
  FileStamp stamp() const;
  /// Whether a path leads to this very file.
  bool is_at(const PathAt& path) const;
  /// Fills the bytes and returns their number; fewer at the file's end only.
  size_t read(std::span<std::byte> bytes) const;
  /// The same from a place of the file on, whatever the place of the next read.
  size_t read_at(int64_t place, std::span<std::byte> bytes) const;
  /// All that is from here to the end.
  std::string read_rest() const;
  /// All of the bytes.
  void write(std::span<const std::byte> bytes) const;
  /// The place of the next read or write, in bytes from the beginning.
  void seek(int64_t place) const;
  void truncate(int64_t size) const;
  /// Returns when what was written is on the disk. Of a directory: the names in it.
  void flush() const;

 private:
  template <class Read>
  size_t read_all(std::span<std::byte> bytes, Read read) const;

  std::filesystem::path name_;
  int value_;
};

}  // namespace mmrec
