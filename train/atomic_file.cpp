#include "train/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <system_error>
#include <utility>
#include <vector>

#include "runtime/error.h"
#include "train/directory_lock.h"

namespace mmrec {
namespace {

namespace fs = std::filesystem;

void flush_directory(const fs::path& path) { FileDescriptor("open", path, O_RDONLY | O_DIRECTORY).flush(); }

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

/// Of a leftover: whether its process is gone, as far as can be told.
bool is_abandoned(const fs::path& path) {
  const std::string extension = path.extension().string();
  const long id = std::strtol(extension.c_str() + extension.find('-') + 1, nullptr, 10);
  if (::kill(static_cast<pid_t>(id), 0) == 0 || errno != ESRCH) return false;
  try {
    const DirectoryLock lock(path);
    return true;
  } catch (const Error&) {  // its process is one of another machine or container
    return false;
  }
}

void rename_or_fail(const fs::path& from, const fs::path& to) {
  if (std::rename(from.c_str(), to.c_str()) != 0) fail_on_file("write", to, errno);
}

/// Where a file's new content goes in the end, and where it is written first.
struct FilePlaces {
  explicit FilePlaces(const fs::path& path) : target(destination(path)), partial(with_suffix(target, "partial")) {
    // A rename would replace even a device.
    if (is_there(target) && type_of(target) != fs::file_type::regular) fail("cannot write {}: it exists and is not a regular file", path.string());
  }
  fs::path target, partial;
};

void tidy_up(const fs::path& leftover) {
  const fs::path target = leftover.parent_path() / leftover.stem();
  if (leftover.extension().string().starts_with(".old-") && !is_there(target))
    rename_or_fail(leftover, target);
  else
    remove_quietly(leftover);
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
  if (errno != EINVAL && errno != ENOSYS) fail_on_file("write", target, errno);
  const fs::path old = with_suffix(target, "old");
  rename_or_fail(target, old);
  if (std::rename(partial.c_str(), target.c_str()) != 0) {
    const int code = errno;
    rename_or_fail(old, target);
    fail_on_file("write", target, code);
  }
  remove_quietly(old);
}

}  // namespace

std::string read_file(const fs::path& path) {
  const FileDescriptor file("read", path, O_RDONLY);
  // The size is a first guess (a pipe has none); one byte more lets the end of the file show without growing.
  std::string content(static_cast<size_t>(file.size()) + 1, '\0');
  size_t used = 0;
  while (const size_t got = file.read(std::as_writable_bytes(std::span(content)).subspan(used))) {
    used += got;
    if (used == content.size()) content.resize(2 * used);
  }
  content.resize(used);
  return content;
}

std::function<bool(const fs::path&)> within(const fs::path& folder) {
  return [outer = destination(folder)](const fs::path& path) { return std::ranges::mismatch(outer, destination(path)).in1 == outer.end(); };
}

void make_directory(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) fail_on_file("create directory", path, error.value());
}

void rename_file(const fs::path& from, const fs::path& to) {
  rename_or_fail(from, to);
  flush_directory(to.parent_path());
}

void check_writable(const fs::path& path) {
  const FilePlaces places(path);
  { const FileDescriptor file("write", places.partial, O_WRONLY | O_CREAT | O_TRUNC, path); }
  remove_quietly(places.partial);
}

void write_file_atomically(const fs::path& path, std::span<const std::span<const std::byte>> pieces) {
  const auto [target, partial] = FilePlaces(path);
  try {
    {
      const FileDescriptor file("write", partial, O_WRONLY | O_CREAT | O_TRUNC, path);
      for (std::span<const std::byte> piece : pieces) file.write(piece);
      file.flush();
    }
    rename_file(partial, target);
  } catch (...) {
    remove_quietly(partial);
    throw;
  }
}

void write_file_atomically(const fs::path& path, std::string_view text) {
  const std::span<const std::byte> piece = std::as_bytes(std::span(text));
  write_file_atomically(path, {&piece, 1});
}

void write_directory_atomically(const fs::path& path, const std::function<void(const fs::path& partial)>& fill) {
  const fs::path target = destination(path);
  const fs::path partial = with_suffix(target, "partial");
  remove_quietly(partial);  // process ids come again: it may be what a killed process left
  if (::mkdir(partial.c_str(), 0777) != 0) fail_on_file("create directory", path, errno);
  try {
    const DirectoryLock lock(partial);  // for remove_abandoned
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
  for (const fs::path& path : leftovers) tidy_up(path);
}

std::vector<fs::path> remove_abandoned(const fs::path& path) {
  const fs::path target = destination(path);
  std::vector<fs::path> abandoned;
  if (!is_there(target.parent_path())) return abandoned;
  for (const fs::directory_entry& entry : fs::directory_iterator(target.parent_path()))
    if (const fs::path& left = entry.path(); is_leftover(left) && left.stem() == target.filename() && entry.is_directory() && is_abandoned(left))
      abandoned.push_back(left);
  for (const fs::path& left : abandoned) tidy_up(left);
  return abandoned;
}

AppendFile::AppendFile(const fs::path& path) : file_("write", path, O_WRONLY | O_CREAT | O_APPEND) {}

void AppendFile::append(std::string_view record) { file_.write(std::as_bytes(std::span(record))); }

void AppendFile::flush() { file_.flush(); }

std::vector<std::string_view> whole_lines(std::string_view text) {
  std::vector<std::string_view> lines;
  for (size_t end; (end = text.find('\n')) != text.npos; text.remove_prefix(end + 1)) lines.push_back(text.substr(0, end));
  return lines;
}

}  // namespace mmrec
