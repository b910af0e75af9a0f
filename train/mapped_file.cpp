#include "train/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <cerrno>

#include "train/file_descriptor.h"

namespace mmrec {
namespace {

constexpr int64_t kReleaseAfter = int64_t{32} << 20;
// Along with a page Linux maps what it has in its cache around it: 64 KB, or a whole huge page.
constexpr int64_t kMappedAlong = int64_t{2} << 20;

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) {
  const FileDescriptor file("read", path, O_RDONLY);
  size_ = file.size();
  if (size_ == 0) return;  // nothing can be mapped
  void* const address = ::mmap(nullptr, static_cast<size_t>(size_), PROT_READ, MAP_PRIVATE, file, 0);
  if (address == MAP_FAILED) fail_on_file("read", path, errno);
  data_ = static_cast<const std::byte*>(address);
}

MappedFile::~MappedFile() {
  if (data_) ::munmap(const_cast<std::byte*>(data_), static_cast<size_t>(size_));
}

void MappedFile::count_read(int64_t bytes) {
  in_use_ += bytes + kMappedAlong;
  if (in_use_ < kReleaseAfter) return;
  ::madvise(const_cast<std::byte*>(data_), static_cast<size_t>(size_), MADV_DONTNEED);
  in_use_ = 0;
}

}  // namespace mmrec
