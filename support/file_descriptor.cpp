#include "support/file_descriptor.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "support/error.h"

namespace mmrec {
namespace {

const char* advice(int code) {
  switch (code) {
    case ENOSPC:
    case EDQUOT:
      return "free some space or choose another place";
    case EFBIG:
      return "raise the limit on the size of files (ulimit -f) or choose another file system";
    case EACCES:
    case EPERM:
      return "check the permissions of it and of its directory";
    case EROFS:
      return "choose a place that can be written to";
    case ENOENT:
    case ENOTDIR:
    case ENAMETOOLONG:
      return "check the path";
    case EISDIR:
      return "give the name of a file";
    case ELOOP:
      return "check the links";
    case EMFILE:
      return "raise the limit on open files (ulimit -n)";
    case ENOMEM:
      return "free some memory or raise its limit";
    default:
      return "check the disk";
  }
}

}  // namespace

std::filesystem::file_type kind_of_file(const std::filesystem::path& path) {
  std::error_code error;
  const std::filesystem::file_type kind = std::filesystem::status(path, error).type();
  if (kind == std::filesystem::file_type::none) fail_on_file("read", path, error.value());
  return kind;
}

std::string file_problem(const char* action, const std::filesystem::path& path, int code) {
  return fmt::format("cannot {} {}: {}; {}", action, path.string(),
                     std::generic_category().message(code), advice(code));
}

void fail_on_file(const char* action, const std::filesystem::path& path, int code) {
  throw Error(file_problem(action, path, code));
}

FileDescriptor::FileDescriptor(const char* action, const PathAt& path, int flags,
                               std::filesystem::path name)
    : name_(name.empty() ? path.shown() : std::move(name)),
      value_(::openat(path.directory(), path.c_str(), flags | O_CLOEXEC, 0666)) {
  if (value_ < 0) fail_on_file(action, name_, errno);
}

FileDescriptor::~FileDescriptor() {
  if (value_ >= 0) ::close(value_);
}

FileDescriptor::FileDescriptor(FileDescriptor&& other) noexcept
    : name_(std::move(other.name_)), value_(std::exchange(other.value_, -1)) {}

bool FileDescriptor::is_at(const PathAt& path) const {
  struct stat own, other;
  return ::fstat(value_, &own) == 0 && ::fstatat(path.directory(), path.c_str(), &other, 0) == 0 &&
         own.st_dev == other.st_dev && own.st_ino == other.st_ino;
}

FileStamp FileDescriptor::stamp() const {
  struct stat status;
  if (::fstat(value_, &status) != 0) fail_on_file("read", name_, errno);
  return {status.st_size, status.st_ctim.tv_sec, status.st_ctim.tv_nsec};
}

template <class Read>
size_t FileDescriptor::read_all(std::span<std::byte> bytes, Read read) const {
  size_t used = 0;
  while (used < bytes.size()) {
    const ssize_t got = read(used);
    if (got == 0) break;
    if (got > 0)
      used += static_cast<size_t>(got);
    else if (errno != EINTR)
      fail_on_file("read", name_, errno);
  }
  return used;
}

size_t FileDescriptor::read(std::span<std::byte> bytes) const {
  return read_all(
      bytes, [&](size_t used) { return ::read(value_, bytes.data() + used, bytes.size() - used); });
}

size_t FileDescriptor::read_at(int64_t place, std::span<std::byte> bytes) const {
  return read_all(bytes, [&](size_t used) {
    return ::pread(value_, bytes.data() + used, bytes.size() - used,
                   place + static_cast<int64_t>(used));
  });
}

std::string FileDescriptor::read_rest() const {
  // The size is only a first guess (a pipe has none). One extra byte detects the end of the file
  // without growing the buffer.
  std::string content(static_cast<size_t>(size()) + 1, '\0');
  size_t used = 0;
  while (const size_t got = read(std::as_writable_bytes(std::span(content)).subspan(used))) {
    used += got;
    if (used == content.size()) content.resize(2 * used);
  }
  content.resize(used);
  return content;
}

void FileDescriptor::write(std::span<const std::byte> bytes) const {
  while (!bytes.empty()) {
    const ssize_t written = ::write(value_, bytes.data(), bytes.size());
    if (written >= 0)
      bytes = bytes.subspan(static_cast<size_t>(written));
    else if (errno != EINTR)
      fail_on_file("write", name_, errno);
  }
}

void FileDescriptor::seek(int64_t place) const {
  if (::lseek(value_, place, SEEK_SET) < 0) fail_on_file("read", name_, errno);
}

void FileDescriptor::truncate(int64_t size) const {
  if (::ftruncate(value_, size) != 0) fail_on_file("write", name_, errno);
}

void FileDescriptor::flush() const {
  // EINVAL: the file system cannot flush directories.
  if (::fsync(value_) != 0 && errno != EINVAL) fail_on_file("write", name_, errno);
}

}  // namespace mmrec
