#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "support/console.h"

namespace mmrec {

/// Parses `--val-split`: nullopt for "auto", or a number in [0, 1). Throws a UsageError for
/// anything else.
std::optional<double> parse_validation_split(const std::string& text);

/// Returns the validation part of a text: `asked`, which must be in [0, 1) (else throws a
/// UsageError), or by default 0.2 below 10 MB and 0.05 for larger texts. `bytes` is the size of the
/// files as they are, compressed or not.
double validation_part(std::optional<double> asked, int64_t bytes);

/// Returns where to cut a text without documents: the last `val_split` of its bytes are for
/// validation. The cut moves back to the nearest line end if that is within 200 bytes or 2 % of the
/// text (at most 1 MB), otherwise to a character boundary. text_at(first, count) returns bytes of
/// the text.
int64_t split_point(int64_t bytes, double val_split,
                    const std::function<std::string(int64_t first, int64_t count)>& text_at);
size_t split_point(std::string_view text, double val_split);

/// Describes a split (sizes in bytes). Warns if the result is far from the part that was asked for;
/// nullopt: no part was asked for.
Note describe_split(std::optional<double> asked, int64_t train, int64_t validation);

/// Assigns documents to training or validation. A document (except the first) is for validation if
/// that brings the validation part closer to `val_split` of the bytes. Validation documents
/// therefore come from all over the corpus.
class DocumentSplit {
 public:
  explicit DocumentSplit(double val_split) : val_split_(val_split) {}
  /// Call it once per document, in order. Returns whether the document is for validation.
  bool next(size_t bytes);

 private:
  double val_split_;
  int64_t all_ = 0, validation_ = 0;  // bytes
};

}  // namespace mmrec
