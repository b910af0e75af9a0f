#pragma once

#include <string>
#include <string_view>

namespace mmrec {

// File names are bytes: on Linux any except NUL and, within a name, the slash. JSON, TOML and HTML
// are UTF-8.

/// Encodes a name as UTF-8 for JSON and TOML. Valid UTF-8 stays as it is. Each invalid byte becomes
/// NUL, which no name contains, and two hexadecimal digits ("caf\u0000e9.txt" in JSON).
std::string text_of_name(std::string_view name);
/// The inverse.
std::string name_of_text(std::string_view text);

/// Makes a text safe for a terminal or a page: control characters and invalid UTF-8 are shown as
/// \x1b or \u009b and have no effect. Line ends and tabs stay.
std::string visible(std::string_view text);
/// The same for a text that must stay on one line.
std::string visible_in_line(std::string_view text);

/// Quotes a word for a copyable command line. bash reads back every byte.
std::string shell_quoted(const std::string& word);

}  // namespace mmrec
