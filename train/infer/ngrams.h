#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>

namespace mmrec {

/// How varied texts are. A word is what stands between white space; a character of Chinese and
/// Japanese, and any other from U+2E80 on but for Hangul and U+FFFD, is a word of its own. n is 1
/// to 4.
struct Variety {
  static constexpr int kMostWords = 4;

  int64_t words = 0;  ///< in all texts
  /// [n - 1]: number of different n-grams of words in all texts over that of all n-grams; NaN if
  /// there are none (distinct-n: Li et al., "A diversity-promoting objective function for neural
  /// conversation models", 2016).
  std::array<double, kMostWords> distinct;
  /// [n - 1]: part of a text's n-grams that occur in the text before; the mean of the texts that
  /// have any, NaN if none has (seq-rep-n: Welleck et al., "Neural text generation with
  /// unlikelihood training", 2020).
  std::array<double, kMostWords> repeated;
};

/// The texts must be valid UTF-8.
Variety variety_of(std::span<const std::string> texts);

}  // namespace mmrec
