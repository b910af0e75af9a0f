#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace mmrec {

/// A UTF-8 text may begin with this mark; it is not part of the text.
constexpr std::string_view kByteOrderMark = "\uFEFF";

/// Converts ASCII letters to lower case.
std::string lower_case(std::string_view text);

/// Returns a file name's extension in lower case, ignoring compressions:
/// ".jsonl" for "A.JSONL.gz".
std::string extension_of(const std::filesystem::path& path);

/// Throws an Error if a file's content (decompressed if `is_compressed`) begins like something
/// other than UTF-8 text: an archive, another compression, UTF-16. The message says what the file
/// is and what to do.
void check_begins_like_text(std::string_view begin, const std::filesystem::path& path,
                            bool is_compressed);

/// White space in XML and HTML.
constexpr std::string_view kXmlSpace = " \t\r\n";

/// Removes a byte order mark, white space, the XML declaration and comments from a text's
/// beginning. Returns "" if one of them does not end in the text.
std::string_view without_prolog(std::string_view begin);

/// Returns whether the file's name is that of an HTML page.
bool is_called_html(const std::filesystem::path& path);

/// Returns whether a text begins like an HTML page although its name does not say so.
bool is_unexpected_html(std::string_view begin, const std::filesystem::path& path);

/// Returns whether the first lines of a text are JSON objects: at least one, and all of them.
/// `begin` may cut off the first line.
bool begins_like_json_lines(std::string_view begin);

}  // namespace mmrec
