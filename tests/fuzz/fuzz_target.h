#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>

#include "support/error.h"
#include "support/file_descriptor.h"

// A target is a file that defines this function (libFuzzer's entry point) and passes the bytes to a
// reader. For any bytes the reader must succeed or throw an Error. Any other exception, a sanitizer
// report and a false require() end the process.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace mmrec::fuzz {

inline std::string_view text_of(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

/// Returns true if body() completed, false if it rejected its input with an Error.
template <class Body>
bool accepts(Body body) {
  try {
    body();
  } catch (const Error&) {
    return false;
  }
  return true;
}

/// A file that exists only in memory, for readers that need a path.
class MemoryFile {
 public:
  explicit MemoryFile(std::string_view content = {})
      : path_("/proc/self/fd/" + std::to_string(descriptor_)) {
    if (descriptor_ < 0) fail_on_file("make", "a file in memory", errno);
    write(content);
  }
  ~MemoryFile() { ::close(descriptor_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  const std::filesystem::path& path() const { return path_; }
  /// Replaces the content after the first `kept` bytes, which must exist.
  void write(std::string_view content, size_t kept = 0) {
    if (::ftruncate(descriptor_, static_cast<off_t>(kept)) != 0 ||
        ::pwrite(descriptor_, content.data(), content.size(), static_cast<off_t>(kept)) !=
            static_cast<ssize_t>(content.size()))
      fail_on_file("write", path_, errno);
  }

 private:
  int descriptor_ = ::memfd_create("input", MFD_CLOEXEC);
  std::filesystem::path path_;
};

}  // namespace mmrec::fuzz
