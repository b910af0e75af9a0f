#pragma once

#include <charconv>
#include <optional>
#include <string_view>
#include <system_error>

namespace mmrec {

/// Parses a whole text as a decimal number. Returns nullopt for any other text and for a number out
/// of Number's range.
template <class Number>
std::optional<Number> parse_number(std::string_view text) {
  Number value{};
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  return error == std::errc() && stop == end ? std::optional(value) : std::nullopt;
}

}  // namespace mmrec
