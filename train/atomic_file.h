#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "train/file_descriptor.h"

namespace mmrec {

// Files on disk. All functions here throw an Error with the path, the system's reason and what to do about it.

/// The bytes of a whole file.
std::string read_file(const std::filesystem::path& path);

/// Tells of paths whether they are a folder's or those of something in it, also by way of links. Each costs a look at the disk; where the
/// folder is is found out once.
std::function<bool(const std::filesystem::path&)> within(const std::filesystem::path& folder);

/// Makes a directory and those above it; an existing one is fine.
void make_directory(const std::filesystem::path& path);

/// Renames a file that has been flushed; the new name, too, is on the disk when this returns.
void rename_file(const std::filesystem::path& from, const std::filesystem::path& to);

/// Fails where write_file_atomically could not write `path`: for what computes long before it writes.
void check_writable(const std::filesystem::path& path);

/// Writes the pieces one after another as the new content of `path`. They go to a temporary file beside it, which is
/// flushed to the disk and renamed: whoever reads `path` finds the old content or the new, also after a crash or a power
/// cut. If anything fails, the old content stays and the temporary file is removed. Links are followed.
void write_file_atomically(const std::filesystem::path& path, std::span<const std::span<const std::byte>> pieces);
void write_file_atomically(const std::filesystem::path& path, std::string_view text);

/// The same for a directory of files. `fill` is given an empty directory, `<path>.partial-<process id>`, and writes into it
/// with write_file_atomically; then it takes the place of `path`. An older directory of that name is deleted only after the
/// new one stands, and only if each of its entries has a successor: a mistyped path must not cost other files.
/// On a file system that cannot swap two names the older one is `<path>.old-<process id>` between two renames.
void write_directory_atomically(const std::filesystem::path& path, const std::function<void(const std::filesystem::path& partial)>& fill);

/// Removes a directory that write_directory_atomically wrote; whoever looks finds all of it or nothing under its name.
void remove_directory_atomically(const std::filesystem::path& path);

/// Tidies up in a directory, to which nobody may be writing, after processes that were killed in one of the functions above:
/// what they had not finished goes, and a `NAME.old-<process id>` takes its name back where nothing has that name. Only for
/// names of which ours(NAME) says that they may be touched.
void remove_leftovers(const std::filesystem::path& directory, const std::function<bool(const std::string& name)>& ours);

/// The same beside `path` for processes that were killed in write_directory_atomically(path, ..), while others may be in it: what
/// belongs to a process that lives, here or on another machine that shares the file system and its locks, stays. Returns what was
/// tidied up.
std::vector<std::filesystem::path> remove_abandoned(const std::filesystem::path& path);

/// A file that grows by records; a crash of the process between two of them leaves whole ones.
class AppendFile {
 public:
  /// Opens the file at its end; creates it if need be.
  explicit AppendFile(const std::filesystem::path& path);

  /// Hands the record to the system before it returns.
  void append(std::string_view record);
  /// Waits until all records are on the disk and outlive a power cut.
  void flush();

 private:
  FileDescriptor file_;
};

/// The lines of a text, without their ends, as views into it; a last one that has none, as a crash leaves it, is passed over.
std::vector<std::string_view> whole_lines(std::string_view text);

}  // namespace mmrec
