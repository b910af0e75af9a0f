#pragma once

#include <string>
#include <string_view>

namespace mmrec {

/// Valid UTF-8; the validation text is empty where val_split is 0.
struct Corpus {
  std::string train, validation;
};

/// `--data`: where a run's text comes from.
/// - "sample": 1000 lines drawn from ten English sentences, always the same, and val_split * 1000 more for validation. The
///   training text holds 252 windows of 256 characters.
/// - a directory: its train.txt and val.txt; val_split does not matter;
/// - a file: val_split (in [0, 1)) of it, the end, is for validation. It begins after the last line end before that place
///   if there is one within 200 bytes or 2 % of the text, else between two characters.
/// Throws an Error where a text is missing, empty or not UTF-8, a UsageError where val_split makes no sense.
Corpus load_corpus(std::string_view data, double val_split);

}  // namespace mmrec
