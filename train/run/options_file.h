#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mmrec {

// The file format that `search` writes and `train --options` reads: TOML lines name = value. A
// value is a string, a number, true or false, or a list of these (several values). Numbers are
// passed on as written; a single word is a string even without quotes. Strings are file names:
// bytes that are not UTF-8 are written as in text_of_name().

/// An option's name and its values.
using FileOption = std::pair<std::string, std::vector<std::string>>;

/// Parses a file; options are in the order of the lines. Throws a UsageError with `where` (the
/// file) and the line.
std::vector<FileOption> parse_options_file(std::string_view text, std::string_view where);
/// Formats a file. One value is written as a string, several as a list. `about` becomes a comment
/// at the top.
std::string options_file_text(std::string_view about, const std::vector<FileOption>& options);

}  // namespace mmrec
