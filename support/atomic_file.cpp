#include "support/atomic_file.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstdio>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "support/error.h"

namespace mmrec {
namespace {

namespace fs = std::filesystem;

constexpr size_t kTokenDigits = 16;

void flush_directory(const PathAt& path) {
  FileDescriptor("open", path, O_RDONLY | O_DIRECTORY).flush();
}

PathAt with_token(const PathAt& path, const char* kind) {
  return path + fmt::format(".{}-{}", kind, unique_token());
}

void remove_quietly(const PathAt& path) {
  try {
    remove_tree(path);
  } catch (const Error&) {  // not in the way; the next start tries again
  }
}

/// Returns "partial", "old" or "kept" for a leftover's name, "" for any other name.
std::string_view leftover_kind(const std::string& name) {
  for (const std::string_view kind : {"partial", "old", "kept"}) {
    const size_t dash = name.rfind('-');
    if (dash == name.npos || name.size() - dash - 1 != kTokenDigits ||
        name.find_first_not_of("0123456789abcdef", dash + 1) != name.npos)
      continue;
    const size_t dot = dash - std::min(dash, kind.size() + 1);
    if (dot > 0 && name[dot] == '.' &&
        std::string_view(name).substr(dot + 1, kind.size()) == kind &&
        dot + 1 + kind.size() == dash)
      return kind;
  }
  return "";
}

bool rename_succeeds(const PathAt& from, const PathAt& to) {
  return ::renameat(from.directory(), from.c_str(), to.directory(), to.c_str()) == 0;
}

void rename_or_fail(const PathAt& from, const PathAt& to) {
  if (!rename_succeeds(from, to)) fail_on_file("write", to.shown(), errno);
}

/// The final path of a file's new content, and the temporary path it is written to first.
struct FilePlaces {
  explicit FilePlaces(const PathAt& path)
      : target(path.destination()), partial(partial_name(target)) {
    // A rename would replace even a device.
    if (exists(target) && type_of(target) != fs::file_type::regular)
      fail("cannot write {}: it exists and is not a regular file", path.shown().string());
  }
  PathAt target, partial;
};

/// Returns a leftover's name without its suffix.
std::string name_before(const std::string& leftover) { return fs::path(leftover).stem().string(); }

void tidy_up(const PathAt& leftover) {
  const PathAt target = leftover.parent() / name_before(leftover.name());
  const std::string_view kind = leftover_kind(leftover.name());
  if (kind == "kept") remove_tree(target);  // may be partly deleted
  if (kind == "kept" || (kind == "old" && !exists(target)))
    rename_or_fail(leftover, target);
  else
    remove_quietly(leftover);
}

void check_nothing_is_lost(const PathAt& old_directory, const PathAt& new_directory,
                           std::span<const char* const> may_go) {
  if (!exists(old_directory)) return;
  const std::string shown = old_directory.shown().string();
  if (!is_directory(old_directory))
    fail("cannot write {}: it exists and is not a directory", shown);
  for (const std::string& name : names_in(old_directory))
    if (!exists(new_directory / name) && std::ranges::count(may_go, name) == 0)
      fail("will not replace {}: its '{}' would be lost; choose another name or remove it first",
           shown, name);
}

/// Copies a directory: the name `to` leads to all of it or to nothing. Returns the lock of the
/// copy.
DirectoryLock copy_directory_atomically(const PathAt& from, const PathAt& to) {
  const PathAt partial = partial_name(to);
  DirectoryLock lock = make_locked_directory(partial);
  try {
    for (const std::string& name : names_in(from)) copy_tree(from / name, partial / name);
    flush_directory(partial);
    rename_file(partial, to);
  } catch (...) {
    remove_quietly(partial);
    throw;
  }
  return lock;
}

void put_in_place(const PathAt& partial, const PathAt& target) {
  if (!exists(target)) return rename_or_fail(partial, target);
  if (::renameat2(partial.directory(), partial.c_str(), target.directory(), target.c_str(),
                  RENAME_EXCHANGE) == 0)
    return remove_quietly(partial);
  if (errno == EXDEV) {  // the target is in the lower layer of an overlay
    const PathAt kept = with_token(target, "kept");
    const DirectoryLock lock = copy_directory_atomically(target, kept);
    remove_tree(target);
    rename_or_fail(partial, target);
    rename_or_fail(kept, partial);
    return remove_quietly(partial);
  }
  if (errno != EINVAL && errno != ENOSYS) fail_on_file("write", target.shown(), errno);
  const PathAt old = with_token(target, "old");
  rename_or_fail(target, old);
  if (!rename_succeeds(partial, target)) {
    const int code = errno;
    rename_or_fail(old, target);
    fail_on_file("write", target.shown(), code);
  }
  remove_quietly(old);
}

/// Returns whether a process is putting a new version of a folder into place.
bool is_being_replaced(const PathAt& folder) {
  const PathAt place = folder.destination();
  return is_directory(place.parent()) &&
         std::ranges::any_of(names_in(place.parent()), [&](const std::string& name) {
           return is_leftover(name) && name_before(name) == place.name();
         });
}

void copy_file_or_link(const PathAt& from, const PathAt& to) {
  if (::linkat(from.directory(), from.c_str(), to.directory(), to.c_str(), 0) == 0) return;
  std::array<char, PATH_MAX> leads_to;
  if (const ssize_t length =
          ::readlinkat(from.directory(), from.c_str(), leads_to.data(), leads_to.size() - 1);
      length > 0) {
    leads_to[static_cast<size_t>(length)] = '\0';
    if (::symlinkat(leads_to.data(), to.directory(), to.c_str()) != 0)
      fail_on_file("write", to.shown(), errno);
    return;
  }
  if (type_of(from) != fs::file_type::regular)
    fail("cannot copy {}: it is neither a file, a link nor a directory", from.shown().string());
  const FileDescriptor source("read", from, O_RDONLY),
      copy("write", to, O_WRONLY | O_CREAT | O_EXCL);
  std::vector<std::byte> room(size_t{1} << 20);
  while (const size_t got = source.read(room)) copy.write(std::span(room).first(got));
  struct stat status;
  if (::fstat(source, &status) == 0) {
    const std::array times = {status.st_atim, status.st_mtim};
    if (::fchmod(copy, status.st_mode & 07777) != 0 || ::futimens(copy, times.data()) != 0)
      fail_on_file("write", to.shown(), errno);
  }
  copy.flush();
}

/// Returns the mode of the entry itself, links not followed; 0 if there is none.
mode_t mode_of(const PathAt& path) {
  struct stat status;
  return ::fstatat(path.directory(), path.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0
             ? status.st_mode
             : 0;
}

}  // namespace

std::string unique_token() {
  uint64_t number = 0;
  if (::getrandom(&number, sizeof number, 0) != sizeof number)
    fail("the system gives no random numbers: {}", std::generic_category().message(errno));
  return fmt::format("{:016x}", number);
}

PathAt partial_name(const PathAt& path) { return with_token(path, "partial"); }

DirectoryLock make_locked_directory(const PathAt& path) {
  for (;;) {
    if (::mkdirat(path.directory(), path.c_str(), 0777) != 0 && errno != EEXIST)
      fail_on_file("create directory", path.shown(), errno);
    try {  // another process may take it for abandoned until it is locked
      DirectoryLock lock(path);
      if (is_same(lock.path(), path)) return lock;
    } catch (const Error&) {
      if (exists(path) && !is_locked(path)) throw;
    }
  }
}

bool is_leftover(const fs::path& path) { return !leftover_kind(path.filename().string()).empty(); }

std::string read_file(const PathAt& path) {
  return FileDescriptor("read", path, O_RDONLY).read_rest();
}

std::function<bool(const fs::path&)> within(const fs::path& folder) {
  return [outer = PathAt(folder).destination().path()](const fs::path& path) {
    return std::ranges::mismatch(outer, PathAt(path).destination().path()).in1 == outer.end();
  };
}

void make_directory(const PathAt& path) {
  if (::mkdirat(path.directory(), path.c_str(), 0777) == 0) return;
  int code = errno;
  if (code == ENOENT && path.path().has_parent_path() && path.path() != path.path().parent_path()) {
    make_directory(path.parent());
    code = ::mkdirat(path.directory(), path.c_str(), 0777) == 0 ? 0 : errno;
  }
  if (code != 0 && !(code == EEXIST && is_directory(path)))
    fail_on_file("create directory", path.shown(), code == EEXIST ? ENOTDIR : code);
}

void rename_file(const PathAt& from, const PathAt& to) {
  rename_or_fail(from, to);
  flush_directory(to.parent());
}

void copy_tree(const PathAt& from, const PathAt& to) {
  if (!S_ISDIR(mode_of(from))) return copy_file_or_link(from, to);
  if (::mkdirat(to.directory(), to.c_str(), 0777) != 0)
    fail_on_file("create directory", to.shown(), errno);
  for (const std::string& name : names_in(from)) copy_tree(from / name, to / name);
  flush_directory(to);
}

void remove_tree(const PathAt& path) {
  const mode_t mode = mode_of(path);
  if (mode == 0) return;
  if (S_ISDIR(mode)) {
    for (const std::string& name : names_in(path)) remove_tree(path / name);
    if (::unlinkat(path.directory(), path.c_str(), AT_REMOVEDIR) != 0)
      fail_on_file("remove", path.shown(), errno);
  } else if (::unlinkat(path.directory(), path.c_str(), 0) != 0 && errno != ENOENT) {
    fail_on_file("remove", path.shown(), errno);
  }
}

void move_tree(const PathAt& from, const PathAt& to) {
  if (!rename_succeeds(from, to)) {
    if (errno != EXDEV) fail_on_file("move", from.shown(), errno);
    if (!S_ISDIR(mode_of(from))) {
      const PathAt partial = partial_name(to);
      copy_tree(from, partial);
      rename_or_fail(partial, to);
    } else {
      copy_directory_atomically(from, to);
    }
    flush_directory(to.parent());
    remove_tree(from);
  }
  flush_directory(to.parent());
  flush_directory(from.parent());
}

void check_writable(const PathAt& path) {
  const FilePlaces places(path);
  {
    const FileDescriptor file("write", places.partial, O_WRONLY | O_CREAT | O_TRUNC, path.shown());
  }
  remove_quietly(places.partial);
}

void write_file_atomically(const PathAt& path, std::span<const std::span<const std::byte>> pieces) {
  write_file_atomically(path, [&](const WritePiece& write) {
    for (const std::span<const std::byte> piece : pieces) write(piece);
  });
}

void write_file_atomically(const PathAt& path,
                           const std::function<void(const WritePiece& write)>& write_all) {
  const auto [target, partial] = FilePlaces(path);
  try {
    {
      const FileDescriptor file("write", partial, O_WRONLY | O_CREAT | O_TRUNC, path.shown());
      write_all([&](std::span<const std::byte> piece) { file.write(piece); });
      file.flush();
    }
    rename_file(partial, target);
  } catch (...) {
    remove_quietly(partial);
    throw;
  }
}

void write_file_atomically(const PathAt& path, std::string_view text) {
  const std::span<const std::byte> piece = std::as_bytes(std::span(text));
  write_file_atomically(path, {&piece, 1});
}

void write_directory_atomically(const PathAt& path,
                                const std::function<void(const PathAt& partial)>& fill,
                                std::span<const char* const> may_go) {
  const PathAt target = path.destination(), partial = partial_name(target);
  const DirectoryLock lock = make_locked_directory(partial);
  try {
    fill(partial);
    check_nothing_is_lost(target, partial, may_go);
    flush_directory(partial);
    put_in_place(partial, target);
  } catch (...) {
    remove_quietly(partial);
    throw;
  }
  flush_directory(target.parent());
}

void remove_directory_atomically(const PathAt& path) {
  const PathAt partial = partial_name(path);
  if (rename_succeeds(path, partial)) return remove_quietly(partial);
  if (errno != EXDEV) fail_on_file("remove", path.shown(), errno);
  remove_tree(path);
}

void remove_leftovers(const PathAt& directory,
                      const std::function<bool(const std::string& name)>& ours) {
  for (const std::string& name : names_in(directory)) {
    std::string whole = name;  // an unfinished copy may itself be a copy of a leftover
    while (is_leftover(whole)) whole = name_before(whole);
    if (whole != name && ours(whole)) tidy_up(directory / name);
  }
}

void read_replaceable_folder(const PathAt& folder,
                             const std::function<void(const PathAt& held)>& read) {
  constexpr int kTries = 100;
  constexpr std::chrono::milliseconds kPause(10);
  for (int tries = 1;; ++tries) {
    try {
      const FileDescriptor descriptor("read", folder, O_RDONLY | O_DIRECTORY);
      const PathAt held(descriptor, folder.shown());
      try {
        return read(held);
      } catch (const Error&) {
        if (is_same(held, folder)) throw;
        continue;  // a new version has replaced it; the held one is being deleted
      }
    } catch (const Error&) {
      if (tries >= kTries || !is_being_replaced(folder)) throw;
    }
    std::this_thread::sleep_for(kPause);
  }
}

std::vector<fs::path> remove_abandoned(const fs::path& path) {
  const fs::path target = PathAt(path).destination().path();
  std::vector<fs::path> abandoned;
  if (!is_directory(target.parent_path())) return abandoned;
  for (const std::string& name : names_in(target.parent_path())) {
    const fs::path left = target.parent_path() / name;
    if (!is_leftover(name) || name_before(name) != target.filename() || !is_directory(left))
      continue;
    try {
      const DirectoryLock lock(left);
      if (!lock.is_held()) continue;  // no locks here: its writer may be alive
      tidy_up(left);
      abandoned.push_back(left);
    } catch (const Error&) {  // a living process is writing it
    }
  }
  return abandoned;
}

AppendFile::AppendFile(const PathAt& path) : file_("write", path, O_WRONLY | O_CREAT | O_APPEND) {}

void AppendFile::append(std::string_view record) { file_.write(std::as_bytes(std::span(record))); }

void AppendFile::flush() { file_.flush(); }

std::vector<std::string_view> whole_lines(std::string_view text) {
  std::vector<std::string_view> lines;
  for (size_t end; (end = text.find('\n')) != text.npos; text.remove_prefix(end + 1))
    lines.push_back(text.substr(0, end));
  return lines;
}

}  // namespace mmrec
