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

// A target is a file with this function (libFuzzer's entry point): it gives the bytes to a reader. Whatever they are, the reader
// takes them or throws an Error; any other exception, a sanitizer's finding and a false require() end the process.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace mmrec::fuzz {

inline std::string_view text_of(const uint8_t* data, size_t size) { return {reinterpret_cast<const char*>(data), size}; }

inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

/// Whether body() came to its end and did not refuse its input with an Error.
template <class Body>
bool accepts(Body body) {
  try {
    body();
  } catch (const Error&) {
    return false;
  }
  return true;
}

/// A file that is nowhere but in memory, for readers that want a path.
class MemoryFile {
 public:
  explicit MemoryFile(std::string_view content = {}) : path_("/proc/self/fd/" + std::to_string(descriptor_)) {
    if (descriptor_ < 0) fail_on_file("make", "a file in memory", errno);
    write(content);
  }
  ~MemoryFile() { ::close(descriptor_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  const std::filesystem::path& path() const { return path_; }
  /// In place of what follows the first `kept` bytes, which must be there.
  void write(std::string_view content, size_t kept = 0) {
    if (::ftruncate(descriptor_, static_cast<off_t>(kept)) != 0 ||
        ::pwrite(descriptor_, content.data(), content.size(), static_cast<off_t>(kept)) != static_cast<ssize_t>(content.size()))
      fail_on_file("write", path_, errno);
  }

 private:
  int descriptor_ = ::memfd_create("input", MFD_CLOEXEC);
  std::filesystem::path path_;
};

}  // namespace mmrec::fuzz
