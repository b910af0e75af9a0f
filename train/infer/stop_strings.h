#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace mmrec {

/// Looks for texts that end a generated text, while it comes piece by piece.
class StopStrings {
 public:
  /// None may be empty; that throws a UsageError.
  explicit StopStrings(std::vector<std::string> stops);

  /// Takes the next piece of the text. Returns what of the text is certain to come before any stop:
  /// an end that may be the beginning of one is held back.
  std::string pass(std::string_view piece);
  /// Whether a stop has been found. What comes before it has been returned; nothing more will be.
  bool found() const { return found_; }
  /// Returns what is still held back: at the end of the text nothing follows it.
  std::string rest();

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool found_ = false;
};

}  // namespace mmrec
