#include "train/data/data_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <vector>

#include "support/error.h"

namespace mmrec {
namespace {

namespace fs = std::filesystem;

constexpr size_t kBlock = size_t{1} << 20;  // bytes

std::shared_ptr<const FileDescriptor> open_regular(const fs::path& path) {
  if (const fs::file_type kind = kind_of_file(path);
      kind != fs::file_type::regular && kind != fs::file_type::not_found)
    fail("cannot read {}: it is not a regular file", path.string());
  return std::make_shared<FileDescriptor>("read", path, O_RDONLY);
}

}  // namespace

int64_t size_of(const DataFile& file) { return FileSource(file).size(); }

std::shared_ptr<const FileDescriptor> make_temporary_file() {
  // Not in /tmp: where that is a part of the memory, the memory is too small for large data.
  const char* folder = std::getenv("TMPDIR");
  if (!folder || !*folder) folder = "/var/tmp";
  std::string path = (fs::path(folder) / "mmrec-XXXXXX").string();
  const fs::path shown = fs::path(folder) / "(a temporary file; TMPDIR is for another folder)";
  const int made = ::mkstemp(path.data());
  if (made < 0) fail_on_file("write", shown, errno);
  ::close(made);
  auto file = std::make_shared<FileDescriptor>("write", path, O_RDWR, shown);
  ::unlink(path.c_str());
  return file;
}

FileSource::FileSource(const DataFile& file, Sha256* digest)
    : file_(file.copy ? file.copy : open_regular(file.name)),
      opened_(file_->stamp()),
      begin_(file.begin),
      bytes_(file.bytes),
      digest_(digest) {}

size_t FileSource::read(std::span<char> bytes) {
  const int64_t left = std::max<int64_t>(bytes_ - place_, 0);
  bytes = bytes.first(static_cast<size_t>(std::min(left, static_cast<int64_t>(bytes.size()))));
  const size_t got = file_->read_at(begin_ + place_, std::as_writable_bytes(bytes));
  if (digest_) digest_->update(std::as_bytes(bytes.first(got)));
  place_ += static_cast<int64_t>(got);
  return got;
}

int64_t FileSource::size() const { return std::min(bytes_, file_->size() - begin_); }

int64_t append(ByteSource& source, const FileDescriptor& file, const ReadObserver& observe) {
  std::vector<char> block(kBlock);
  int64_t bytes = 0;
  while (const size_t got = source.read(block)) {
    file.write(std::as_bytes(std::span(block).first(got)));
    observe(bytes += static_cast<int64_t>(got));
  }
  return bytes;
}

Checksum checksum_of(const DataFile& file, const ReadObserver& observe) {
  Sha256 digest;
  FileSource source(file, &digest);
  std::vector<char> block(kBlock);
  while (source.read(block) > 0) observe(source.place());
  return {source.place(), digest.hex()};
}

}  // namespace mmrec
