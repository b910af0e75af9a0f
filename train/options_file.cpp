#include "train/options_file.h"

#include <fmt/ranges.h>
#include <toml++/toml.h>

#include <algorithm>
#include <sstream>

#include "runtime/error.h"
#include "train/names.h"

namespace mmrec {

namespace {

[[noreturn]] void refuse(std::string_view where, const toml::source_region& place, std::string_view problem) {
  fail_usage("{}: line {}: {}", where, place.begin.line, problem);
}

/// A value as the command line has it.
std::string value_text(const toml::node& node, std::string_view where) {
  if (const auto* text = node.as_string()) {
    std::string value = name_of_text(text->get());
    if (value.find('\0') != value.npos) refuse(where, node.source(), "a NUL is in no text");
    return value;
  }
  if (const auto* whole = node.as_integer()) return fmt::format("{}", whole->get());
  if (const auto* number = node.as_floating_point()) return fmt::format("{}", number->get());
  if (const auto* flag = node.as_boolean()) return flag->get() ? "true" : "false";
  refuse(where, node.source(), "a value is a text in quotes, a number, true or false, or a list of these");
}

/// Bytes that are no UTF-8, which TOML does not allow, as escapes: earlier versions took them in texts as they were.
std::string with_escapes(std::string_view text) {
  std::string result;
  for (const char c : text_of_name(text)) result += c == '\0' ? "\\u0000" : std::string(1, c);
  return result;
}

std::string quoted(const std::string& text) {
  std::ostringstream stream;
  stream << toml::toml_formatter{toml::value<std::string>{text_of_name(text)}, toml::format_flags::none};
  return stream.str();
}

}  // namespace

std::vector<FileOption> parse_options_file(std::string_view text, std::string_view where) {
  toml::table table;
  try {
    table = toml::parse(with_escapes(text));
  } catch (const toml::parse_error& error) {
    refuse(where, error.source(),
           "expected name = \"text\", name = 3, or name = [\"text\", ..], each name once; in \"..\" a \\ is written \\\\, in '..' as it is");
  }
  std::vector<std::pair<toml::source_position, FileOption>> found;
  for (const auto& [key, node] : table) {
    std::vector<std::string> values;
    if (const toml::array* list = node.as_array())
      for (const toml::node& element : *list) values.push_back(value_text(element, where));
    else
      values.push_back(value_text(node, where));
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
    text += values.size() == 1 ? fmt::format("{} = {}\n", name, words.front()) : fmt::format("{} = [{}]\n", name, fmt::join(words, ", "));
  }
  return text;
}

}  // namespace mmrec
