#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "support/atomic_file.h"

namespace mmrec {

/// A line of metrics.jsonl. A field that does not apply (a validation has no gradient norm) is NaN
/// here and null in the file.
struct MetricsRow {
  static constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

  int64_t step = 0;
  int64_t epoch = 0;
  std::string split = "train";  ///< or "val"
  double loss = kNone;          ///< mean cross-entropy in nats
  /// Only if validation windows are longer than training windows: the loss of the same tokens, cut
  /// into pieces as long as a training window, each from a zero state. Comparable with the training
  /// loss when the state does not carry over beyond a training window.
  double loss_in_trained_window = kNone;
  /// Of a validation, with the mean length of the validation text's tokens.
  double bits_per_byte = kNone;
  double accuracy = kNone;  ///< fraction of tokens, 0 .. 1
  double lr = kNone;
  double grad_norm = kNone;  ///< before clipping
  /// The blocks' own loss (UBOO), a mean over the tokens; it is part of the gradient, not of
  /// `loss`.
  double aux_loss = kNone;
  /// Over all layers, tokens and units: the largest factor with which a step multiplies the state,
  /// and the largest |h|. The state of a model whose factors are above 1 can grow without bound.
  double max_factor = kNone, max_state = kNone;
  int64_t tokens = 0;  ///< trained on since the start of the run
  double tokens_per_second = kNone;
  double seconds = 0;  ///< since the start of the run

  double perplexity() const;
};

/// Appends rows to metrics.jsonl. A row is in the file when append returns.
class MetricsFile {
 public:
  explicit MetricsFile(const PathAt& path) : file_(path) {}
  void append(const MetricsRow& row);
  /// Waits until the rows are on disk.
  void flush() { file_.flush(); }

 private:
  AppendFile file_;
};

/// Reads the rows of a file. Skips an incomplete last line (left by a crash). Errors name file and
/// line.
std::vector<MetricsRow> read_metrics(const PathAt& path);
/// Suffix of the file that keeps lines of a metrics file that are not rows.
constexpr const char* kUnreadable = ".unreadable";
/// Prepares a metrics file for resuming. Drops the rows after `step`, which the resumed run will
/// write again. Moves lines that are not rows (left by a power cut) to `<path>.unreadable` and
/// returns their number. All other lines keep every byte. A missing file counts as empty.
/// `validated`: keep the validation row of `step` too.
int64_t drop_metrics_after(const PathAt& path, int64_t step, bool validated);

}  // namespace mmrec
