#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mmrec {

// A file of options, as `search` writes it and `train --options` reads it: TOML, of lines name = value. A value is a text, a number, true or
// false; a list of such is several values. A number is handed on as it is written; a word alone is a text without quotes too. Texts are names:
// what of one is no UTF-8 is written as text_of_name() does.

/// An option's name and its values.
using FileOption = std::pair<std::string, std::vector<std::string>>;

/// In the order of the lines. Throws a UsageError with `where` (the file) and the line.
std::vector<FileOption> parse_options_file(std::string_view text, std::string_view where);
/// A value alone is written as a text, several are a list; `about` becomes a comment above them.
std::string options_file_text(std::string_view about, const std::vector<FileOption>& options);

}  // namespace mmrec
