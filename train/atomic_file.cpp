#include "train/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <system_error>
#include <utility>
#include <vector>

#include "runtime/error.h"

namespace mmrec {
namespace {

namespace fs = std::filesystem;

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
    case EMFILE:
      return "raise the limit on open files (ulimit -n)";
    default:
      return "check the disk";
  }
}

[[noreturn]] void fail_with(const char* action, const fs::path& path, int code) {
  fail("cannot {} {}: {}; {}", action, path.string(), std::generic_category().message(code), advice(code));
}

class Descriptor {
 public:
  Descriptor(const char* action, const fs::path& path, int flags) : value_(::open(path.c_str(), flags | O_CLOEXEC, 0666)) {
    if (value_ < 0) fail_with(action, path, errno);
  }
  ~Descriptor() { ::close(value_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  operator int() const { return value_; }

 private:
  int value_;
};

void write_all(int descriptor, std::span<const std::byte> bytes, const fs::path& path) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor, bytes.data(), bytes.size());
    if (written >= 0)
      bytes = bytes.subspan(static_cast<size_t>(written));
    else if (errno != EINTR)
      fail_with("write", path, errno);
  }
}

/// Directories too: only then does a rename within it survive a power cut.
void flush(int descriptor, const fs::path& path) {
  // EINVAL: a file system that has no notion of flushing a directory.
  if (::fsync(descriptor) != 0 && errno != EINVAL) fail_with("write", path, errno);
}

void flush_directory(const fs::path& path) { flush(Descriptor("open", path, O_RDONLY | O_DIRECTORY), path); }

/// Where a name leads: an absolute path with links followed and without a slash at the end.
fs::path destination(const fs::path& path) {
  std::error_code error;
  const fs::path absolute = fs::absolute(path, error);
  fs::path real = fs::weakly_canonical(absolute, error);
  if (error) real = absolute;
  return real.has_filename() ? real : real.parent_path();
}

fs::path with_suffix(fs::path path, const char* suffix) { return path += fmt::format(".{}-{}", suffix, ::getpid()); }

/// What cannot be looked at counts as not there: writing it then fails and gives the reason.
fs::file_type type_of(const fs::path& path) {
  std::error_code ignored;
  const fs::file_type type = fs::status(path, ignored).type();
  return type == fs::file_type::none ? fs::file_type::not_found : type;
}

bool is_there(const fs::path& path) { return type_of(path) != fs::file_type::not_found; }

void remove_quietly(const fs::path& path) {
  std::error_code ignored;
  fs::remove_all(path, ignored);
}

/// NAME.partial-<process id> or NAME.old-<process id>.
bool is_leftover(const fs::path& path) {
  const std::string extension = path.extension().string();
  for (const std::string_view kind : {".partial-", ".old-"})
    if (extension.starts_with(kind)) return extension.find_first_not_of("0123456789", kind.size()) == extension.npos;
  return false;
}

void rename_or_fail(const fs::path& from, const fs::path& to) {
  if (std::rename(from.c_str(), to.c_str()) != 0) fail_with("write", to, errno);
}

void check_nothing_is_lost(const fs::path& old_directory, const fs::path& new_directory) {
  if (!is_there(old_directory)) return;
  if (type_of(old_directory) != fs::file_type::directory) fail("cannot write {}: it exists and is not a directory", old_directory.string());
  for (const fs::directory_entry& entry : fs::directory_iterator(old_directory))
    if (!is_there(new_directory / entry.path().filename()))
      fail("will not replace {}: its '{}' would be lost; choose another name or remove it first", old_directory.string(),
           entry.path().filename().string());
}

void put_in_place(const fs::path& partial, const fs::path& target) {
  if (!is_there(target)) return rename_or_fail(partial, target);
  if (::renameat2(AT_FDCWD, partial.c_str(), AT_FDCWD, target.c_str(), RENAME_EXCHANGE) == 0) return remove_quietly(partial);
  if (errno != EINVAL && errno != ENOSYS) fail_with("write", target, errno);
  const fs::path old = with_suffix(target, "old");
  rename_or_fail(target, old);
  if (std::rename(partial.c_str(), target.c_str()) != 0) {
    const int code = errno;
    rename_or_fail(old, target);
    fail_with("write", target, code);
  }
  remove_quietly(old);
}

}  // namespace

std::string read_file(const fs::path& path) {
  const Descriptor file("read", path, O_RDONLY);
  struct stat status;
  if (::fstat(file, &status) != 0) fail_with("read", path, errno);
  // The size is a first guess (a pipe has none); one byte more lets the end of the file show without growing.
  std::string content(static_cast<size_t>(status.st_size) + 1, '\0');
  size_t used = 0;
  for (;;) {
    const ssize_t got = ::read(file, content.data() + used, content.size() - used);
    if (got == 0) break;
    if (got > 0)
      used += static_cast<size_t>(got);
    else if (errno != EINTR)
      fail_with("read", path, errno);
    if (used == content.size()) content.resize(2 * used);
  }
  content.resize(used);
  return content;
}

void make_directory(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) fail_with("create directory", path, error.value());
}

void write_file_atomically(const fs::path& path, std::span<const std::span<const std::byte>> pieces) {
  const fs::path target = destination(path);
  // A rename would replace even a device.
  if (is_there(target) && type_of(target) != fs::file_type::regular) fail("cannot write {}: it exists and is not a regular file", path.string());
  const fs::path partial = with_suffix(target, "partial");
  try {
    {
      const Descriptor file("write", partial, O_WRONLY | O_CREAT | O_TRUNC);
      for (std::span<const std::byte> piece : pieces) write_all(file, piece, path);
      flush(file, path);
    }
    rename_or_fail(partial, target);
  } catch (...) {
    remove_quietly(partial);
    throw;
  }
  flush_directory(target.parent_path());
}

void write_file_atomically(const fs::path& path, std::string_view text) {
  const std::span<const std::byte> piece = std::as_bytes(std::span(text));
  write_file_atomically(path, {&piece, 1});
}

void write_directory_atomically(const fs::path& path, const std::function<void(const fs::path& partial)>& fill) {
  const fs::path target = destination(path);
  const fs::path partial = with_suffix(target, "partial");
  remove_quietly(partial);  // process ids come again: it may be what a killed process left
  if (::mkdir(partial.c_str(), 0777) != 0) fail_with("create directory", partial, errno);
  try {
    fill(partial);
    check_nothing_is_lost(target, partial);
    flush_directory(partial);
    put_in_place(partial, target);
  } catch (...) {
    remove_quietly(partial);
    throw;
  }
  flush_directory(target.parent_path());
}

void remove_directory_atomically(const fs::path& path) {
  const fs::path partial = with_suffix(path, "partial");
  remove_quietly(partial);
  rename_or_fail(path, partial);
  remove_quietly(partial);
}

void remove_leftovers(const fs::path& directory, const std::function<bool(const std::string& name)>& ours) {
  std::vector<fs::path> leftovers;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory))
    if (const fs::path& path = entry.path(); is_leftover(path) && ours(path.stem().string())) leftovers.push_back(path);
  for (const fs::path& path : leftovers) {
    const fs::path target = directory / path.stem();
    if (path.extension().string().starts_with(".old-") && !is_there(target))
      rename_or_fail(path, target);
    else
      remove_quietly(path);
  }
}

AppendFile::AppendFile(fs::path path) : path_(std::move(path)), descriptor_(::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666)) {
  if (descriptor_ < 0) fail_with("write", path_, errno);
}

AppendFile::~AppendFile() { ::close(descriptor_); }

void AppendFile::append(std::string_view record) { write_all(descriptor_, std::as_bytes(std::span(record)), path_); }

void AppendFile::flush() { mmrec::flush(descriptor_, path_); }

}  // namespace mmrec
