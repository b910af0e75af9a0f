#include "train/run/options_file.h"

#include <fmt/ranges.h>
#include <toml++/toml.h>

#include <algorithm>
#include <cctype>
#include <sstream>

#include "support/error.h"
#include "support/names.h"

namespace mmrec {

namespace {

[[noreturn]] void refuse(std::string_view where, const toml::source_region& place,
                         std::string_view problem) {
  fail_usage("{}: line {}: {}", where, place.begin.line, problem);
}

/// Returns the source text at a place within one line. toml++ counts lines and code points from 1,
/// without a byte order mark.
std::string written(std::string_view text, const toml::source_region& place) {
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  for (toml::source_index line = 1; line < place.begin.line; ++line)
    text.remove_prefix(text.find('\n') + 1);
  const auto offset = [text](toml::source_index column) {
    size_t at = 0;
    for (toml::source_index i = 1; i < column; ++i) do
        ++at;
      while (at < text.size() && (text[at] & 0xC0) == 0x80);
    return at;
  };
  const size_t begin = offset(place.begin.column);
  return std::string(text.substr(begin, offset(place.end.column) - begin));
}

/// Returns a value as the command line expects it. Number syntax that only TOML allows (0x10,
/// 1_000) is passed on as written; the command line rejects it.
std::string value_text(const toml::node& node, std::string_view text_of_file,
                       std::string_view where) {
  if (const auto* text = node.as_string()) {
    std::string value = name_of_text(text->get());
    if (value.find('\0') != value.npos) refuse(where, node.source(), "a NUL is in no text");
    return value;
  }
  if (node.is_number()) return written(text_of_file, node.source());
  if (const auto* flag = node.as_boolean()) return flag->get() ? "true" : "false";
  refuse(where, node.source(),
         "a value is a text in quotes, a number, true or false, or a list of these");
}

/// Replaces bytes that are not UTF-8 by escapes. TOML forbids them, but earlier versions accepted
/// them in strings.
std::string with_escapes(std::string_view text) {
  std::string result;
  for (const char c : text_of_name(text)) result += c == '\0' ? "\\u0000" : std::string(1, c);
  return result;
}

std::string quoted(const std::string& text) {
  std::ostringstream stream;
  stream << toml::toml_formatter{toml::value<std::string>{text_of_name(text)},
                                 toml::format_flags::none};
  return stream.str();
}

/// If line `number` is name = word, puts quotes around the word, which earlier versions accepted
/// without quotes. Returns whether the line had that form.
bool quote_word(std::string& text, toml::source_index number) {
  size_t begin = 0;
  for (toml::source_index line = 1; line < number; ++line) begin = text.find('\n', begin) + 1;
  const std::string_view line =
      std::string_view(text).substr(begin, text.find('\n', begin) - begin);
  const size_t first = line.find_first_not_of(" \t", line.find('=') + 1);
  if (line.find('=') == line.npos || first == line.npos) return false;
  const std::string_view rest = line.substr(first);
  const std::string word(rest.substr(0, rest.find_first_of(" \t\r#")));
  const size_t behind = rest.find_first_not_of(" \t\r", word.size());
  if (word.empty() || (behind != rest.npos && rest[behind] != '#')) return false;
  for (const char c : word)
    if (std::iscntrl(static_cast<unsigned char>(c)) ||
        std::string_view("\"'\\[]{},=").find(c) != std::string_view::npos)
      return false;
  text.replace(begin + first, word.size(), quoted(word));
  return true;
}

toml::table parse(std::string& text, std::string_view where) {
  for (;;) {
    const std::string escaped = with_escapes(text);
    try {
      toml::table table = toml::parse(escaped);
      text = escaped;
      return table;
    } catch (const toml::parse_error& error) {
      if (quote_word(text, error.source().begin.line)) continue;
      refuse(where, error.source(),
             "expected name = \"text\", name = word, name = 3, or name = [\"text\", ..], each name "
             "once; in \"..\" a \\ is written \\\\, in '..' "
             "as it is");
    }
  }
}

}  // namespace

std::vector<FileOption> parse_options_file(std::string_view given, std::string_view where) {
  std::string text(given);
  const toml::table table = parse(text, where);
  std::vector<std::pair<toml::source_position, FileOption>> found;
  for (const auto& [key, node] : table) {
    std::vector<std::string> values;
    if (const toml::array* list = node.as_array())
      for (const toml::node& element : *list) values.push_back(value_text(element, text, where));
    else
      values.push_back(value_text(node, text, where));
    found.push_back({node.source().begin, {std::string(key.str()), std::move(values)}});
  }
  std::ranges::sort(found, [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<FileOption> options;
  for (auto& [place, option] : found) options.push_back(std::move(option));
  return options;
}

std::string options_file_text(std::string_view about, const std::vector<FileOption>& options) {
  std::string text = fmt::format("# {}\n", visible_in_line(about));
  for (const auto& [name, values] : options) {
    std::vector<std::string> words;
    for (const std::string& value : values) words.push_back(quoted(value));
    text += values.size() == 1 ? fmt::format("{} = {}\n", name, words.front())
                               : fmt::format("{} = [{}]\n", name, fmt::join(words, ", "));
  }
  return text;
}

}  // namespace mmrec
