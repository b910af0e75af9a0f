#pragma once

#include <cstddef>
#include <string_view>

namespace mmrec::fuzz {

/// Returns the length of the well-formed UTF-8 character at the beginning of a text, or 0. Follows
/// the table of RFC 3629, section 4.
inline size_t character_length(std::string_view text) {
  const auto byte = [&](size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
  };
  const auto is_in = [&](size_t i, unsigned low, unsigned high) {
    return byte(i) >= low && byte(i) <= high;
  };
  const auto continues = [&](size_t i) { return is_in(i, 0x80, 0xBF); };
  if (text.empty()) return 0;
  if (is_in(0, 0x00, 0x7F)) return 1;
  if (is_in(0, 0xC2, 0xDF)) return continues(1) ? 2 : 0;
  if (is_in(0, 0xE0, 0xEF))
    return is_in(1, byte(0) == 0xE0 ? 0xA0 : 0x80, byte(0) == 0xED ? 0x9F : 0xBF) && continues(2)
               ? 3
               : 0;
  if (is_in(0, 0xF0, 0xF4))
    return is_in(1, byte(0) == 0xF0 ? 0x90 : 0x80, byte(0) == 0xF4 ? 0x8F : 0xBF) && continues(2) &&
                   continues(3)
               ? 4
               : 0;
  return 0;
}

/// Returns the number of bytes before the first one that is not UTF-8.
inline size_t valid_bytes(std::string_view text) {
  size_t place = 0;
  while (const size_t length = character_length(text.substr(place))) place += length;
  return place;
}

}  // namespace mmrec::fuzz
