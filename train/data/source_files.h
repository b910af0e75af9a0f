#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "train/data/data_file.h"
#include "train/data/left_out.h"

namespace mmrec {

/// The files of a corpus, and those left out.
struct SourceFiles {
  std::vector<std::filesystem::path> files;
  LeftOut left_out;
};

/// Returns the path without links and "..", which recognises a file or a folder by whatever name;
/// the path itself if it cannot be resolved.
std::filesystem::path resolved(const std::filesystem::path& path);

/// Collects the files below a directory that is_called_text says, or all files with `all_kinds`.
/// Leaves out hidden files, partial results of another prepare, the folder `result`, links to files
/// that are read already, and linked folders; with `follow_links` only those that are read already.
/// Sorted by the bytes of their paths. Throws a UsageError if there are none. `option` is that of
/// the command line, for messages.
SourceFiles files_below(const std::filesystem::path& directory, bool all_kinds, bool follow_links,
                        const std::filesystem::path& result,
                        std::string_view option = "--input-dir");

/// The characters that make a name a pattern.
inline constexpr const char* kWildcards = "*?[";
/// Returns whether a name is a pattern such as "*.txt" and not that of a file.
bool is_pattern(const std::filesystem::path& name);

/// Returns the files of these names, in their order. A name may be a pattern: it stands for the
/// files that match, sorted by the bytes of their paths. Leaves out files that are named twice.
/// Throws a UsageError if no file matches.
SourceFiles named_files(const std::vector<std::string>& names,
                        std::string_view option = "--input-file");

/// Copies standard input to a temporary file.
DataFile standard_input(const ReadObserver& observe);

}  // namespace mmrec
