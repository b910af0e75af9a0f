#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "support/console.h"

namespace mmrec {

/// `--val-split`: "auto" gives nothing, a number in [0, 1) itself. Throws a UsageError for anything else.
std::optional<double> parse_validation_split(const std::string& text);

/// The part of a text that is for validation: what was asked for, which must be in [0, 1) (else a UsageError), or 0.2 of texts
/// of less than 10 MB and 0.05 of larger ones. `bytes` are those of the files as they are, compressed or not.
double validation_part(std::optional<double> asked, int64_t bytes);

/// Where a text without documents is cut: its last part, `val_split` of the bytes, is for validation. That begins after the last
/// line end before its place if there is one within 200 bytes or 2 % of the text (at most 1 MB), else between two characters.
/// text_at(first, count) gives the text's bytes there.
int64_t split_point(int64_t bytes, double val_split, const std::function<std::string(int64_t first, int64_t count)>& text_at);
size_t split_point(std::string_view text, double val_split);

/// How a split came out, in bytes: a warning where that is far from the part that was asked for (nothing: there was no such part).
Note describe_split(std::optional<double> asked, int64_t train, int64_t validation);

/// Which documents are for validation: each, but for the first, that brings the part of the bytes that are for validation nearer to
/// `val_split`. So they come from all over the corpus.
class DocumentSplit {
 public:
  explicit DocumentSplit(double val_split) : val_split_(val_split) {}
  /// Once a document, in order: whether it is for validation.
  bool next(size_t bytes);

 private:
  double val_split_;
  int64_t all_ = 0, validation_ = 0;  // bytes
};

}  // namespace mmrec
