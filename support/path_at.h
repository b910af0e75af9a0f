#pragma once

#include <concepts>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace mmrec {

class FileDescriptor;

/// A plain path, or a path below a directory that is held open (for openat() and related calls).
/// Operations below a held directory always reach that directory, whatever its name leads to
/// meanwhile. The descriptor belongs to its opener.
class PathAt {
 public:
  PathAt(std::filesystem::path path);
  template <std::convertible_to<std::filesystem::path> Text>
  PathAt(const Text& path) : PathAt(std::filesystem::path(path)) {}
  /// The directory itself. `shown` is its name in messages.
  PathAt(const FileDescriptor& directory, std::filesystem::path shown);

  int directory() const { return directory_; }  ///< AT_FDCWD for a plain path
  const char* c_str() const { return path_.c_str(); }
  /// Relative to the directory.
  const std::filesystem::path& path() const { return path_; }
  /// For messages.
  const std::filesystem::path& shown() const { return shown_; }
  std::string name() const { return path_.filename().string(); }

  PathAt operator/(const std::filesystem::path& below) const;
  PathAt parent() const;
  /// Appends `suffix` to the name.
  PathAt operator+(const std::string& suffix) const;
  /// Follows links and removes a trailing slash. A plain path becomes absolute.
  PathAt destination() const;

 private:
  PathAt(int directory, std::filesystem::path path, std::filesystem::path shown);

  int directory_;
  std::filesystem::path path_, shown_;
};

/// Returns the file's type, links followed. An inaccessible file counts as missing: using it then
/// fails and gives the reason.
std::filesystem::file_type type_of(const PathAt& path);
/// Throws unless the path leads to a directory: with the system's reason, or with `advice` if
/// nothing is there.
void check_is_directory(const PathAt& path, std::string_view advice);
bool exists(const PathAt& path);
bool is_directory(const PathAt& path);
/// Returns whether both paths lead to the same file or directory; false if one does not exist.
bool is_same(const PathAt& a, const PathAt& b);

/// Returns the names in a directory, unordered, without . and .. Throws as fail_on_file does.
std::vector<std::string> names_in(const PathAt& directory);

}  // namespace mmrec
