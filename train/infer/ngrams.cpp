#include "train/infer/ngrams.h"

#include <utf8.h>

#include <limits>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

namespace mmrec {

namespace {

bool is_space(char32_t character) {
  return character == U' ' || (character >= U'\t' && character <= U'\r') || character == 0x85 ||
         character == 0xA0 || character == 0x1680 || (character >= 0x2000 && character <= 0x200A) ||
         character == 0x2028 || character == 0x2029 || character == 0x202F || character == 0x205F ||
         character == 0x3000;
}

/// Whether a character is of a script that has no space between words. U+FFFD, an unknown
/// character, is taken for a letter.
bool is_word(char32_t character) {
  const bool is_hangul = character >= 0xAC00 && character <= 0xD7FF;
  return character >= 0x2E80 && !is_hangul && !is_space(character) && character != 0xFFFD;
}

std::vector<std::string_view> words_of(std::string_view text) {
  std::vector<std::string_view> words;
  const char* begin = text.data();  // of a word
  const auto end_word = [&](const char* end) {
    if (end != begin) words.emplace_back(begin, static_cast<size_t>(end - begin));
  };
  const char* const end = text.data() + text.size();
  for (const char* next = begin; next != end;) {
    const char* const place = next;
    const auto character = static_cast<char32_t>(utf8::unchecked::next(next));
    if (!is_space(character) && !is_word(character)) continue;
    end_word(place);
    begin = place;
    if (is_word(character)) end_word(next);
    begin = next;
  }
  end_word(end);
  return words;
}

using Ngrams = std::unordered_set<std::string>;

/// Adds the n-grams of a text to a set. Returns their number.
int64_t add_ngrams(std::span<const std::string_view> words, size_t n, Ngrams& ngrams) {
  int64_t count = 0;
  for (; words.size() >= n; words = words.subspan(1), ++count) {
    std::string ngram;
    for (const std::string_view word : words.first(n)) (ngram += word) += ' ';
    ngrams.insert(std::move(ngram));
  }
  return count;
}

double ratio(double part, int64_t whole) {
  return whole == 0 ? std::numeric_limits<double>::quiet_NaN() : part / static_cast<double>(whole);
}

}  // namespace

Variety variety_of(std::span<const std::string> texts) {
  Variety variety;
  std::vector<std::vector<std::string_view>> words;
  for (const std::string& text : texts) {
    words.push_back(words_of(text));
    variety.words += std::ssize(words.back());
  }
  for (size_t n = 1; n <= Variety::kMostWords; ++n) {
    Ngrams of_all;
    int64_t count = 0, texts_with_any = 0;
    double repeated = 0;
    for (const std::vector<std::string_view>& text : words) {
      Ngrams of_text;
      const int64_t in_text = add_ngrams(text, n, of_text);
      if (in_text == 0) continue;
      ++texts_with_any;
      count += in_text;
      repeated += 1 - ratio(static_cast<double>(of_text.size()), in_text);
      of_all.merge(of_text);
    }
    variety.distinct[n - 1] = ratio(static_cast<double>(of_all.size()), count);
    variety.repeated[n - 1] = ratio(repeated, texts_with_any);
  }
  return variety;
}

}  // namespace mmrec
