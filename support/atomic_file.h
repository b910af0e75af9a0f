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

// Files and folders on disk. Every function here throws an Error with the path, the system's reason
// and advice.

/// Returns the content of a file.
std::string read_file(const PathAt& path);

/// Returns a predicate: is a path `folder` itself, or inside it? Links are followed. The folder is
/// resolved once; each call costs a look at the disk.
std::function<bool(const std::filesystem::path&)> within(const std::filesystem::path& folder);

/// Creates a directory and its parents. An existing directory is fine.
void make_directory(const PathAt& path);

/// Renames a file that has been flushed. When this returns, the new name is on disk too.
void rename_file(const PathAt& from, const PathAt& to);

/// Copies a file, a link or a directory tree to a name that does not exist, and flushes it. Files
/// become hard links if the file system has them.
void copy_tree(const PathAt& from, const PathAt& to);

/// Removes a file or a directory tree. A missing path is fine.
void remove_tree(const PathAt& path);

/// Renames a file or a directory, even where the system can only copy it: across file systems, or
/// out of the lower layer of an overlay (a container's image). The new name must not exist. It
/// holds nothing or everything, also if the process is killed.
void move_tree(const PathAt& from, const PathAt& to);

/// Throws if write_file_atomically could not write `path`. For code that computes long before it
/// writes.
void check_writable(const PathAt& path);

/// Writes the pieces, one after another, as the new content of `path`. Writes a temporary file
/// beside it, flushes it to disk and renames it: readers see the old content or the new one, also
/// after a crash or a power cut. On failure the old content stays and the temporary file is
/// removed. Links are followed.
void write_file_atomically(const PathAt& path, std::span<const std::span<const std::byte>> pieces);
/// The same for pieces that are not all there at once: `write_all` calls write(piece) for each.
using WritePiece = std::function<void(std::span<const std::byte> piece)>;
void write_file_atomically(const PathAt& path,
                           const std::function<void(const WritePiece& write)>& write_all);
void write_file_atomically(const PathAt& path, std::string_view text);

/// The same for a directory of files. `fill` gets an empty directory, `<path>.partial-<token>`, and
/// writes into it with write_file_atomically. Then that directory replaces `path`. An old directory
/// is deleted only when the new one is in place, and only if each of its entries exists in the new
/// one or is called as one of `may_go`: a mistyped path must not destroy other files.
/// On a file system that cannot swap two names, the old directory is `<path>.old-<token>` between
/// two renames. Where it cannot even be renamed, `<path>.kept-<token>` is a copy of it until the
/// new one is in place.
void write_directory_atomically(const PathAt& path,
                                const std::function<void(const PathAt& partial)>& fill,
                                std::span<const char* const> may_go = {});

/// Removes a directory written by write_directory_atomically. Its name leads to all of it or to
/// nothing, except for a directory in the lower layer of an overlay.
void remove_directory_atomically(const PathAt& path);

/// Calls `read` with a folder that write_directory_atomically may replace. The folder is held open,
/// so all reads see one version. If `read` fails and another version has replaced the folder
/// meanwhile, tries again.
void read_replaceable_folder(const PathAt& folder,
                             const std::function<void(const PathAt& held)>& read);

/// Returns sixteen random hexadecimal digits, unique among processes, also across containers.
std::string unique_token();

/// Returns NAME.partial-<token>, the name of an unfinished version of NAME.
PathAt partial_name(const PathAt& path);

/// Creates a directory and locks it. The lock tells remove_abandoned that a process is writing it.
DirectoryLock make_locked_directory(const PathAt& path);

/// Returns whether a name is one that a killed process may leave behind in the functions above,
/// such as NAME.partial-<token>.
bool is_leftover(const std::filesystem::path& path);

/// Cleans up a directory after processes that were killed in one of the functions above. No process
/// may be writing to the directory. Removes unfinished versions. Restores an old version if nothing
/// complete has its name. Touches only names for which ours(NAME) is true.
void remove_leftovers(const PathAt& directory,
                      const std::function<bool(const std::string& name)>& ours);

/// Cleans up beside `path` after processes that were killed in write_directory_atomically(path,
/// ..), while others may be running. Leaves the files of living processes, also those in other
/// containers or on other machines that share the file system and its locks. Returns what was
/// cleaned up.
std::vector<std::filesystem::path> remove_abandoned(const std::filesystem::path& path);

/// A file that grows by records. A crash of the process leaves whole records only.
class AppendFile {
 public:
  /// Opens the file at its end; creates it if necessary.
  explicit AppendFile(const PathAt& path);

  /// Passes the record to the operating system before it returns.
  void append(std::string_view record);
  /// Waits until all records are on disk and survive a power cut.
  void flush();

 private:
  FileDescriptor file_;
};

/// Returns views of the lines of a text, without line ends. Skips a last line without a line end
/// (left by a crash).
std::vector<std::string_view> whole_lines(std::string_view text);

}  // namespace mmrec
