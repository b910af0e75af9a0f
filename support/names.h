#pragma once

#include <string>
#include <string_view>

namespace mmrec {

// Names of files are bytes: on Linux all but NUL and, within a name, the slash. JSON, TOML and HTML are UTF-8.

/// A name as JSON and TOML keep it: itself where it is UTF-8; of another one each byte that is none becomes a NUL, which no name has, and the
/// byte's two hexadecimal digits ("caf\u0000e9.txt" in JSON).
std::string text_of_name(std::string_view name);
/// The inverse.
std::string name_of_text(std::string_view text);

/// A text for people, on a terminal or in a page: control characters and bytes that are no UTF-8 are shown, \x1b, \u009b, and do nothing.
/// Ends of lines and tabs stay.
std::string visible(std::string_view text);
/// The same for a text that has to stay on its line.
std::string visible_in_line(std::string_view text);

/// A word for a command line that can be copied; bash reads back every byte.
std::string shell_quoted(const std::string& word);

}  // namespace mmrec
