#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "support/path_at.h"

namespace mmrec {

/// Returns the type of the file at a path, links followed; `not_found` if there is none. Throws as
/// fail_on_file does if it cannot be accessed.
std::filesystem::file_type kind_of_file(const std::filesystem::path& path);

/// Returns "cannot <action> <path>: <the reason of errno's value code>; <what to do>".
std::string file_problem(const char* action, const std::filesystem::path& path, int code);
/// Throws file_problem() as an Error.
[[noreturn]] void fail_on_file(const char* action, const std::filesystem::path& path, int code);

/// Changes whenever the file's content does: size and ctime, which no program can set.
struct FileStamp {
  int64_t size, seconds, nanoseconds;
  bool operator==(const FileStamp&) const = default;
};

/// An open file or directory, closed by the destructor. Every method throws as fail_on_file does.
class FileDescriptor {
 public:
  /// action: "read" or "write", for the message if the file cannot be opened. flags: those of
  /// open(). name: the name in messages, if the path is a temporary file that the user need not
  /// know.
  FileDescriptor(const char* action, const PathAt& path, int flags,
                 std::filesystem::path name = {});
  ~FileDescriptor();
  FileDescriptor(FileDescriptor&& other) noexcept;
  FileDescriptor& operator=(FileDescriptor&&) = delete;

  operator int() const { return value_; }

  int64_t size() const { return stamp().size; }
  FileStamp stamp() const;
  /// Returns whether a path leads to this very file.
  bool is_at(const PathAt& path) const;
  /// Fills the bytes and returns how many were read; fewer only at the file's end.
  size_t read(std::span<std::byte> bytes) const;
  /// The same from position `place` on. Does not move the position of read().
  size_t read_at(int64_t place, std::span<std::byte> bytes) const;
  /// Reads from the current position to the end.
  std::string read_rest() const;
  /// Writes all bytes.
  void write(std::span<const std::byte> bytes) const;
  /// Sets the position of the next read or write, in bytes from the beginning.
  void seek(int64_t place) const;
  void truncate(int64_t size) const;
  /// Waits until written data are on disk. For a directory: until its entries are.
  void flush() const;

 private:
  template <class Read>
  size_t read_all(std::span<std::byte> bytes, Read read) const;

  std::filesystem::path name_;
  int value_;
};

}  // namespace mmrec
