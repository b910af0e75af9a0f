#pragma once

#include <string>
#include <string_view>
#include <utility>

namespace mmrec {

/// Makes whole characters of a text that comes piece by piece, also within characters.
class WholeCharacters {
 public:
  /// Takes the next piece. Returns the text up to the last whole character, always valid UTF-8:
  /// bytes that are no part of a character become U+FFFD.
  std::string pass(std::string_view piece);
  /// Returns what is still held back, at the end of the text: U+FFFD for a character without its
  /// end, or "".
  std::string rest();
  /// Returns the bytes that are held back, of a text that goes on with them elsewhere.
  std::string take() { return std::exchange(held_, ""); }

 private:
  std::string held_;
};

}  // namespace mmrec
