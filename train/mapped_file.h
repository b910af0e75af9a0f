#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string_view>

namespace mmrec {

/// A file in the address space: the system reads its pages as they are used, in any order. The file must not become shorter
/// meanwhile; what it is replaced with by a rename does not show.
class MappedFile {
 public:
  /// Throws an Error with the reason where the file cannot be read.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::byte* data() const { return data_; }
  int64_t size() const { return size_; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), static_cast<size_t>(size_)}; }

  /// To be told of every read: pages count as memory of this process from their first use on, and this gives them back after
  /// some 32 MB, or a file that is read all over would in the end count as a whole. They stay in the system's cache.
  void count_read(int64_t bytes);

 private:
  const std::byte* data_ = nullptr;
  int64_t size_ = 0;
  int64_t in_use_ = 0;  // bytes of pages used since they were given back, at most
};

}  // namespace mmrec
