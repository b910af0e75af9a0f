#include "train/infer/whole_characters.h"

#include <utf8.h>

#include <iterator>
#include <utility>

#include "train/data/tokenizer.h"

namespace mmrec {

namespace {

std::string valid(std::string_view text) {
  std::string result;
  utf8::replace_invalid(text.begin(), text.end(), std::back_inserter(result));
  return result;
}

}  // namespace

std::string WholeCharacters::pass(std::string_view piece) {
  held_ += piece;
  const size_t whole = held_.size() - unfinished_bytes(held_);
  std::string passed = valid(std::string_view(held_).substr(0, whole));
  held_.erase(0, whole);
  return passed;
}

std::string WholeCharacters::rest() { return valid(std::exchange(held_, "")); }

}  // namespace mmrec
