#include "train/data/source_files.h"

#include <fcntl.h>
#include <glob.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <set>
#include <system_error>
#include <utility>

#include "support/atomic_file.h"
#include "support/error.h"
#include "support/file_descriptor.h"
#include "train/data/file_kind.h"
#include "train/data/prepared_data.h"
#include "train/data/unpack.h"
#include "train/data/wikipedia.h"

namespace mmrec {
namespace {

namespace fs = std::filesystem;

std::vector<fs::directory_entry> entries_of(const fs::path& folder) {
  std::vector<fs::directory_entry> entries;
  std::error_code error;
  for (auto entry = fs::directory_iterator(folder, error);
       !error && entry != fs::directory_iterator(); entry.increment(error))
    entries.push_back(*entry);
  if (error) fail_on_file("read", folder, error.value());
  std::ranges::sort(entries);
  return entries;
}

/// An .xml counts for its content: others were there before Wikipedia's pages could be read. What
/// is damaged is found when it is read.
bool is_text(const fs::path& path) try {
  return is_called_text(path) && (extension_of(path) != ".xml" || is_wikipedia(path));
} catch (const DamagedData&) {
  return true;
}

void sort_by_bytes(std::vector<fs::path>& paths) {
  std::ranges::sort(paths, {}, [](const fs::path& path) { return path.native(); });
}

/// Returns whether a folder is a run's, or one that prepare made: what they hold is no text of the
/// user's.
bool is_product(const fs::path& folder) {
  const auto has = [&](const char* file) {
    return kind_of_file(folder / file) == fs::file_type::regular;
  };
  return is_prepared(folder) || (has("metrics.jsonl") && has("training_output.log"));
}

/// The files below a folder, and those left out. Links come after all that is there without them,
/// so that a file has its own name if it has one here.
class Collection {
 public:
  Collection(const fs::path& directory, bool all_kinds, bool follow_links, const fs::path& result)
      : all_kinds_(all_kinds),
        follow_links_(follow_links),
        is_of_result_(within(result)),
        is_below_(!is_of_result_(directory)) {
    add_folder(directory);
    while (!linked_folders_.empty()) {
      std::vector<fs::path> folders = std::exchange(linked_folders_, {});
      sort_by_bytes(folders);
      for (const fs::path& folder : folders) add_folder(folder);
    }
    add_linked_files();
    sort_by_bytes(found.files);
  }

  SourceFiles found;

 private:
  void add_folder(const fs::path& folder) {
    if (follow_links_ && !folders_.insert(resolved(folder)).second)
      return leave_out("by a link to a folder that is read already", folder);
    for (const fs::directory_entry& entry : entries_of(folder)) add_entry(entry);
  }
  void add_entry(const fs::directory_entry& entry) {
    const fs::path& path = entry.path();
    std::error_code error;
    const bool is_link = entry.is_symlink(error);
    const fs::file_type kind = entry.status(error).type();
    if (error && !is_link) fail_on_file("read", path, error.value());
    const bool is_folder = kind == fs::file_type::directory;
    if (path.filename().string().starts_with('.')) return leave_out("hidden", path);
    if (is_leftover(path)) return leave_out("left by another prepare", path);
    if (is_folder && is_link && !follow_links_) return leave_out("by a link to a folder", path);
    // Inside a folder only links can lead outside of it.
    if (is_below_ && (is_folder || is_link) && is_of_result_(path))
      return leave_out("of --out", path);
    if (is_folder && is_product(path)) return leave_out("made by train or prepare", path);
    if (is_folder && is_link) return linked_folders_.push_back(path);
    if (is_folder) return add_folder(path);
    if (is_link && kind != fs::file_type::regular) return leave_out("by a link to no file", path);
    if (kind != fs::file_type::regular || !(all_kinds_ || is_text(path)))
      return leave_out("of other kinds", path);
    (is_link ? linked_files_ : found.files).push_back(path);
  }
  void add_linked_files() {
    if (linked_files_.empty()) return;
    std::set<fs::path> read;
    for (const fs::path& file : found.files) read.insert(resolved(file));
    sort_by_bytes(linked_files_);
    for (const fs::path& file : linked_files_) {
      if (read.insert(resolved(file)).second)
        found.files.push_back(file);
      else
        leave_out("by a link to a file that is read already", file);
    }
  }
  void leave_out(const char* kind, const fs::path& path) {
    found.left_out.add(kind, path.string());
  }

  bool all_kinds_, follow_links_;
  std::function<bool(const fs::path&)> is_of_result_;
  bool is_below_;  // the directory is not inside the result: only links and folders can lead there
  std::set<fs::path> folders_;  // without links in their paths; those that were read
  std::vector<fs::path> linked_folders_, linked_files_;
};

/// Returns what matches a pattern.
std::vector<fs::path> matches_of(const std::string& pattern) {
  ::glob_t found{};
  const int code = ::glob(pattern.c_str(), GLOB_NOSORT, nullptr, &found);
  std::vector<fs::path> paths(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  ::globfree(&found);
  if (code != 0 && code != GLOB_NOMATCH) fail_on_file("read", pattern, errno);
  sort_by_bytes(paths);
  return paths;
}

/// A file or a pipe that was opened already.
class DescriptorSource : public ByteSource {
 public:
  explicit DescriptorSource(FileDescriptor file) : file_(std::move(file)) {}
  size_t read(std::span<char> bytes) override { return file_.read(std::as_writable_bytes(bytes)); }

 private:
  FileDescriptor file_;
};

}  // namespace

fs::path resolved(const fs::path& path) {
  std::error_code error;
  fs::path real = fs::canonical(path, error);
  return error ? path : real;
}

SourceFiles files_below(const fs::path& directory, bool all_kinds, bool follow_links,
                        const fs::path& result, std::string_view option) {
  SourceFiles found = Collection(directory, all_kinds, follow_links, result).found;
  if (found.files.empty())
    fail_usage(
        "{} {}: there are no files of text or JSON lines{}{}; prepare --format takes all kinds as "
        "what it says",
        option, directory.string(), found.left_out.empty() ? "" : ", but ", found.left_out.text());
  return found;
}

bool is_pattern(const fs::path& name) {
  return name.native().find_first_of(kWildcards) != std::string::npos &&
         kind_of_file(name) == fs::file_type::not_found;
}

SourceFiles named_files(const std::vector<std::string>& names, std::string_view option) {
  SourceFiles found;
  std::set<fs::path> read;
  const auto add = [&](const fs::path& path) {
    if (read.insert(resolved(path)).second)
      found.files.push_back(path);
    else
      found.left_out.add("named twice", path.string());
  };
  for (const std::string& name : names) {
    if (!is_pattern(name)) {
      add(name);
      continue;
    }
    const std::vector<fs::path> matches = matches_of(name);
    if (matches.empty()) fail_usage("{} {}: no file matches it", option, name);
    for (const fs::path& match : matches) {
      if (kind_of_file(match) == fs::file_type::directory)
        found.left_out.add("of other kinds", match.string());
      else
        add(match);
    }
  }
  if (found.files.empty()) fail_usage("{}: no file matches, but {}", option, found.left_out.text());
  return found;
}

DataFile standard_input(const ReadObserver& observe) {
  const char* const name = "standard input";
  const auto copy = make_temporary_file();
  DescriptorSource input(FileDescriptor("read", "/dev/stdin", O_RDONLY, name));
  return {name, copy, 0, append(input, *copy, observe)};
}

}  // namespace mmrec
