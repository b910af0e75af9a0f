#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "support/directory_lock.h"
#include "support/file_descriptor.h"
#include "support/path_at.h"

namespace mmrec {

// Files and folders on disk. All functions here throw an Error with the path, the system's reason and what to do about it.

/// The bytes of a whole file.
std::string read_file(const PathAt& path);

/// Tells of paths whether they are a folder's or those of something in it, also by way of links. Each costs a look at the disk; where the
/// folder is is found out once.
std::function<bool(const std::filesystem::path&)> within(const std::filesystem::path& folder);

/// Makes a directory and those above it; an existing one is fine.
void make_directory(const PathAt& path);

/// Renames a file that has been flushed; the new name, too, is on the disk when this returns.
void rename_file(const PathAt& from, const PathAt& to);

/// Copies a file, a link or a directory with all that is in it to a name that nothing has, and flushes it. Files are hard links where the
/// file system has them.
void copy_tree(const PathAt& from, const PathAt& to);

/// Removes a file, or a directory with all that is in it; nothing there is fine.
void remove_tree(const PathAt& path);

/// Renames a file or a directory, also where the system can only copy it: across file systems, or out of the lower layer of an overlay (a
/// container's image). Nothing may have the new name; under it there is nothing or all, also when the process is killed.
void move_tree(const PathAt& from, const PathAt& to);

/// Fails where write_file_atomically could not write `path`: for what computes long before it writes.
void check_writable(const PathAt& path);

/// Writes the pieces one after another as the new content of `path`. They go to a temporary file beside it, which is
/// flushed to the disk and renamed: whoever reads `path` finds the old content or the new, also after a crash or a power
/// cut. If anything fails, the old content stays and the temporary file is removed. Links are followed.
void write_file_atomically(const PathAt& path, std::span<const std::span<const std::byte>> pieces);
void write_file_atomically(const PathAt& path, std::string_view text);

/// The same for a directory of files. `fill` is given an empty directory, `<path>.partial-<token>`, and writes into it
/// with write_file_atomically; then it takes the place of `path`. An older directory of that name is deleted only after the
/// new one stands, and only if each of its entries has a successor: a mistyped path must not cost other files.
/// On a file system that cannot swap two names the older one is `<path>.old-<token>` between two renames, and where it cannot even be
/// renamed `<path>.kept-<token>` is a copy of it until the new one stands.
void write_directory_atomically(const PathAt& path, const std::function<void(const PathAt& partial)>& fill);

/// Removes a directory that write_directory_atomically wrote; whoever looks finds all of it or nothing under its name, but for a directory
/// in the lower layer of an overlay.
void remove_directory_atomically(const PathAt& path);

/// Calls `read` with a folder that write_directory_atomically writes, held open: all that is read is of one version. Again where that fails
/// and another version has taken the folder's place meanwhile.
void read_replaceable_folder(const PathAt& folder, const std::function<void(const PathAt& held)>& read);

/// Sixteen hexadecimal digits that no other process draws, in this container or another.
std::string unique_token();

/// NAME.partial-<token> beside a name, for what is not finished.
PathAt partial_name(const PathAt& path);

/// A new directory and its lock, which tells remove_abandoned that somebody writes it.
DirectoryLock make_locked_directory(const PathAt& path);

/// Whether something of this name is what a killed process left in one of the functions above: NAME.partial-<token>, or one of the others.
bool is_leftover(const std::filesystem::path& path);

/// Tidies up in a directory, to which nobody may be writing, after processes that were killed in one of the functions above:
/// what they had not finished goes, and an older version takes its name back where nothing whole has that name. Only for
/// names of which ours(NAME) says that they may be touched.
void remove_leftovers(const PathAt& directory, const std::function<bool(const std::string& name)>& ours);

/// The same beside `path` for processes that were killed in write_directory_atomically(path, ..), while others may be in it: what
/// belongs to a process that lives, in this container or another, or on another machine that shares the file system and its locks, stays.
/// Returns what was tidied up.
std::vector<std::filesystem::path> remove_abandoned(const std::filesystem::path& path);

/// A file that grows by records; a crash of the process between two of them leaves whole ones.
class AppendFile {
 public:
  /// Opens the file at its end; creates it if need be.
  explicit AppendFile(const PathAt& path);

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
