#include "support/names.h"

#include <fmt/format.h>
#include <utf8.h>

#include <charconv>
#include <cstdint>
#include <optional>
#include <system_error>

namespace mmrec {

namespace {

/// Calls `character` with the bytes and code point of each character, and `stray` with each invalid
/// byte.
template <class Character, class Stray>
void for_each_part(std::string_view text, Character character, Stray stray) {
  for (const char* place = text.data(); place != text.data() + text.size();) {
    const char* const end = text.data() + text.size();
    const char* const bad = utf8::find_invalid(place, end);
    while (place != bad) {
      const char* const begin = place;
      const auto code = static_cast<char32_t>(utf8::unchecked::next(place));
      character(std::string_view(begin, static_cast<size_t>(place - begin)), code);
    }
    if (place != end) stray(static_cast<unsigned char>(*place++));
  }
}

std::string visible_but_for(std::string_view text, std::string_view kept) {
  std::string result;
  for_each_part(
      text,
      [&](std::string_view bytes, char32_t code) {
        const bool control = code < 0x20 || (code >= 0x7f && code < 0xa0);
        // A carriage return directly before a line end has no effect.
        const std::string_view from_here =
            text.substr(static_cast<size_t>(bytes.data() - text.data()));
        const bool at_line_end = from_here.starts_with("\r\n") && kept.find('\n') != kept.npos;
        if (!control || at_line_end || (bytes.size() == 1 && kept.find(bytes.front()) != kept.npos))
          result += bytes;
        else
          result += fmt::format(fmt::runtime(bytes.size() == 1 ? "\\x{:02x}" : "\\u{:04x}"),
                                static_cast<uint32_t>(code));
      },
      [&](unsigned char byte) { result += fmt::format("\\x{:02x}", byte); });
  return result;
}

/// Number of hexadecimal digits of a stray byte, after NUL.
constexpr size_t kDigits = 2;

std::optional<char> stray_byte(std::string_view digits) {
  unsigned byte = 0;
  const char* const end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, byte, 16);
  return error == std::errc() && stop == end && digits.size() == kDigits
             ? std::optional(static_cast<char>(byte))
             : std::nullopt;
}

}  // namespace

std::string text_of_name(std::string_view name) {
  std::string text;
  for_each_part(
      name, [&](std::string_view bytes, char32_t) { text += bytes; },
      [&](unsigned char byte) {
        text += '\0';
        text += fmt::format("{:02x}", byte);
      });
  return text;
}

std::string name_of_text(std::string_view text) {
  std::string name;
  for (size_t place = 0; place < text.size(); ++place) {
    const std::optional<char> stray =
        text[place] == '\0' ? stray_byte(text.substr(place + 1, kDigits)) : std::nullopt;
    name += stray.value_or(text[place]);
    if (stray) place += kDigits;
  }
  return name;
}

std::string visible(std::string_view text) { return visible_but_for(text, "\n\t"); }
std::string visible_in_line(std::string_view text) { return visible_but_for(text, ""); }

std::string shell_quoted(const std::string& word) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./+=:@%,";
  if (!word.empty() && word.find_first_not_of(kPlain) == word.npos) return word;
  std::string quoted;
  if (visible_in_line(word) == word) {
    for (const char c : word) quoted += c == '\'' ? "'\\''" : std::string(1, c);
    return "'" + quoted + "'";
  }
  for (const char c : word)
    quoted += c == '\'' || c == '\\' ? std::string{'\\', c} : std::string(1, c);
  return "$'" + visible_in_line(quoted) + "'";  // $'..' understands \x1b and \u009b
}

}  // namespace mmrec
