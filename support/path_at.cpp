#include "support/path_at.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <optional>
#include <system_error>
#include <utility>

#include "support/error.h"
#include "support/file_descriptor.h"

namespace mmrec {
namespace {

namespace fs = std::filesystem;

std::optional<struct stat> status_of(const PathAt& path) {
  struct stat status;
  if (::fstatat(path.directory(), path.c_str(), &status, 0) != 0) return std::nullopt;
  return status;
}

}  // namespace

PathAt::PathAt(int directory, fs::path path, fs::path shown)
    : directory_(directory), path_(std::move(path)), shown_(std::move(shown)) {}
PathAt::PathAt(fs::path path) : directory_(AT_FDCWD), path_(std::move(path)), shown_(path_) {}
PathAt::PathAt(const FileDescriptor& directory, fs::path shown)
    : PathAt(directory, ".", std::move(shown)) {}

PathAt PathAt::operator/(const fs::path& below) const {
  return {directory_, directory_ != AT_FDCWD && path_ == "." ? below : path_ / below,
          shown_ / below};
}

PathAt PathAt::parent() const {
  const fs::path above = path_.parent_path();
  return {directory_, above.empty() ? "." : above,
          shown_.has_parent_path() ? shown_.parent_path() : "."};
}

PathAt PathAt::operator+(const std::string& suffix) const {
  PathAt longer = *this;
  longer.path_ += suffix;
  longer.shown_ += suffix;
  return longer;
}

PathAt PathAt::destination() const {
  if (directory_ == AT_FDCWD) {
    std::error_code error;
    const fs::path absolute = fs::absolute(path_, error);
    fs::path real = fs::weakly_canonical(absolute, error);
    if (error) real = absolute;
    return {directory_, real.has_filename() ? real : real.parent_path(),
            shown_.has_filename() ? shown_ : shown_.parent_path()};
  }
  PathAt place = *this;
  constexpr int kMostLinks = 40;  // the system's limit
  for (int links = 0; links < kMostLinks; ++links) {
    std::array<char, PATH_MAX> target;
    const ssize_t length =
        ::readlinkat(place.directory_, place.c_str(), target.data(), target.size());
    if (length <= 0) break;  // not a link
    const fs::path leads_to(std::string(target.data(), static_cast<size_t>(length)));
    if (leads_to.is_absolute()) return PathAt(AT_FDCWD, leads_to, shown_).destination();
    place = {place.directory_, place.path_.parent_path() / leads_to, shown_};
  }
  return place;
}

fs::file_type type_of(const PathAt& path) {
  const std::optional<struct stat> status = status_of(path);
  if (!status) return fs::file_type::not_found;
  return S_ISREG(status->st_mode)   ? fs::file_type::regular
         : S_ISDIR(status->st_mode) ? fs::file_type::directory
                                    : fs::file_type::unknown;
}

void check_is_directory(const PathAt& path, std::string_view advice) {
  if (const std::optional<struct stat> status = status_of(path)) {
    if (S_ISDIR(status->st_mode)) return;
  } else if (errno != ENOENT && errno != ENOTDIR) {
    fail_on_file("read", path.shown(), errno);
  }
  fail("{}: there is no such folder; {}", path.shown().string(), advice);
}

bool exists(const PathAt& path) { return type_of(path) != fs::file_type::not_found; }
bool is_directory(const PathAt& path) { return type_of(path) == fs::file_type::directory; }

bool is_same(const PathAt& a, const PathAt& b) {
  const std::optional<struct stat> status_a = status_of(a), status_b = status_of(b);
  return status_a && status_b && status_a->st_dev == status_b->st_dev &&
         status_a->st_ino == status_b->st_ino;
}

std::vector<std::string> names_in(const PathAt& directory) {
  const int descriptor =
      ::openat(directory.directory(), directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) fail_on_file("read directory", directory.shown(), errno);
  DIR* const stream = ::fdopendir(descriptor);  // owns the descriptor from here on
  if (!stream) {
    const int code = errno;
    ::close(descriptor);
    fail_on_file("read directory", directory.shown(), code);
  }
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* entry = ::readdir(stream))
    if (const std::string name = entry->d_name; name != "." && name != "..") names.push_back(name);
  const int code = errno;
  ::closedir(stream);
  if (code != 0) fail_on_file("read directory", directory.shown(), code);
  return names;
}

}  // namespace mmrec
