#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace mmrec {

/// What a text in UTF-8 may begin with and is no part of it.
constexpr std::string_view kByteOrderMark = "\uFEFF";

/// ASCII letters in lower case.
std::string lower_case(std::string_view text);

/// What a file's name, without .gz, ends in, in lower case: ".jsonl" of "A.JSONL.gz".
std::string extension_of(const std::filesystem::path& path);

/// Throws an Error where a file's content, decompressed if `is_compressed`, begins as no text in UTF-8 does: an archive, data of another
/// compression, UTF-16. It says what the file is and what to do.
void check_begins_like_text(std::string_view begin, const std::filesystem::path& path, bool is_compressed);

/// Whether a file's name says that it is an HTML page.
bool is_called_html(const std::filesystem::path& path);

/// Whether a text begins as an HTML page does, and is not called one.
bool is_unexpected_html(std::string_view begin, const std::filesystem::path& path);

/// Whether the first lines of a text are JSON objects, at least one and each of them; the first may go on behind what is looked at.
bool begins_like_json_lines(std::string_view begin);

}  // namespace mmrec
