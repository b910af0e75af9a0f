#pragma once

#include <concepts>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace mmrec {

class FileDescriptor;

/// A path below a directory that is held open, as openat() and its kin take it; or a plain path. Below a held directory every
/// operation goes to that very directory, whatever its name leads to meanwhile. The descriptor belongs to whoever opened it.
class PathAt {
 public:
  PathAt(std::filesystem::path path);
  template <std::convertible_to<std::filesystem::path> Text>
  PathAt(const Text& path) : PathAt(std::filesystem::path(path)) {}
  /// The directory itself; `shown` is what messages call it.
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
  /// The same with more behind the name.
  PathAt operator+(const std::string& suffix) const;
  /// Where its name leads: links followed, no slash at the end; of a plain path an absolute one.
  PathAt destination() const;

 private:
  PathAt(int directory, std::filesystem::path path, std::filesystem::path shown);

  int directory_;
  std::filesystem::path path_, shown_;
};

/// What is there, links followed. What cannot be looked at counts as not there: its use then fails and gives the reason.
std::filesystem::file_type type_of(const PathAt& path);
/// Fails where a path does not lead to a directory: with the system's reason, or `advice` where nothing is there.
void check_is_directory(const PathAt& path, std::string_view advice);
bool exists(const PathAt& path);
bool is_directory(const PathAt& path);
/// Whether both lead to the same file or directory; false where one is not there.
bool is_same(const PathAt& a, const PathAt& b);

/// The names in a directory, in no order, without . and .. Throws as fail_on_file does.
std::vector<std::string> names_in(const PathAt& directory);

}  // namespace mmrec
