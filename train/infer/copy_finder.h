#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "train/data/tokenizer.h"
#include "train/data/tokens.h"

namespace mmrec {

/// A piece of a text that is in another text, too.
struct Copy {
  std::string piece = {};  ///< "": the texts have nothing in common
  int64_t length = 0;      ///< characters
  int64_t place = 0;       ///< in the other text, one of several perhaps: characters before it
  int64_t line = 0;        ///< of that place, from 1
};

/// Finds the longest piece that each of several texts has in common with another text, which may be
/// much longer and is read once. All texts must be valid UTF-8. Time is linear in all texts; memory
/// depends on the several texts alone, about 250 bytes a character. They are indexed by a suffix
/// automaton (Blumer et al., "The smallest automaton recognizing the subwords of a text", 1985).
class CopyFinder {
 public:
  explicit CopyFinder(std::span<const std::string> texts);

  /// Reads the next piece of the other text. U+FFFD, which stands for what is no character, is
  /// equal to nothing.
  void read(std::string_view piece);
  /// Reads tokens as the other text. Calls observe(tokens read so far) now and then.
  void read(const Tokens& tokens, const Tokenizer& tokenizer,
            const std::function<void(int64_t)>& observe);
  /// Returns the longest piece of each text that is in what has been read.
  std::vector<Copy> longest() const;

 private:
  /// Where a piece ends in the other text: after this many characters and lines.
  struct Match {
    int64_t length = 0, end = 0, lines = 0;
  };
  /// A set of substrings that end at the same places of the texts: those of the longest one's ends
  /// that have more characters than `link`'s longest one.
  struct State {
    int32_t length = 0;  // of the longest
    int32_t link = -1;   // state of the longest end that is no member; -1: of the first state
    std::vector<std::pair<char32_t, int32_t>> next = {};  // by character, sorted
    Match match = {};  // the longest match that ended in the state
  };

  /// Returns the state that a character leads to, or -1.
  int32_t next(int32_t state, char32_t character) const;
  void set_next(int32_t state, char32_t character, int32_t to);
  /// Adds a character to what was added so far, whose state is `last`. Returns the new whole's
  /// state.
  int32_t extend(int32_t last, char32_t character);

  std::vector<State> states_;
  std::vector<std::u32string> texts_;
  std::vector<std::vector<int32_t>> prefixes_;  // [text][i]: state of the first i + 1 characters
  int32_t state_ = 0;                           // of the current match
  Match current_;                               // length of that match; all that was read
};

}  // namespace mmrec
