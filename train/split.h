#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace mmrec {

/// `--val-split`: "auto" gives nothing, a number in [0, 1) itself. Throws a UsageError for anything else.
std::optional<double> parse_validation_split(const std::string& text);

/// The part of a text that is for validation: what was asked for, which must be in [0, 1) (else a UsageError), or 0.2 of texts
/// of less than 10 MB and 0.05 of larger ones. `bytes` are those of the files as they are, compressed or not.
double validation_part(std::optional<double> asked, int64_t bytes);

/// Where a text without documents is cut: its last part, `val_split` of the bytes, is for validation. That begins after the last
/// line end before its place if there is one within 200 bytes or 2 % of the text (at most 1 MB), else between two characters.
size_t split_point(std::string_view text, double val_split);

/// Which documents are for validation: each at whose beginning less than `val_split` of the bytes so far were for validation. So
/// they come from all over the corpus, and the bytes of both parts are in proportion to within a document.
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
