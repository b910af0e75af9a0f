#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "train/path_at.h"

namespace mmrec {

/// Throws an Error: "cannot <action> <path>: <the reason of errno's value code>; <what to do>".
[[noreturn]] void fail_on_file(const char* action, const std::filesystem::path& path, int code);

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

  int64_t size() const;
  /// Fills the bytes and returns their number; fewer at the file's end only.
  size_t read(std::span<std::byte> bytes) const;
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
  std::filesystem::path name_;
  int value_;
};

}  // namespace mmrec
