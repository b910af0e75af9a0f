#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "support/atomic_file.h"

namespace mmrec {

/// A line of metrics.jsonl. What does not apply (a validation has no gradient norm) is NaN here and null in the file.
struct MetricsRow {
  static constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

  int64_t step = 0;
  int64_t epoch = 0;
  std::string split = "train";  ///< or "val"
  double loss = kNone;          ///< mean cross-entropy, in nats
  /// Of a validation whose windows are longer than the training's: the loss of the same tokens in pieces of them, as long as a training
  /// window, each from a fresh state. It compares with the training loss where the state does not keep beyond them.
  double loss_in_trained_window = kNone;
  double accuracy = kNone;  ///< part of the tokens, 0 .. 1
  double lr = kNone;
  double grad_norm = kNone;  ///< before clipping
  int64_t tokens = 0;        ///< trained on since the start of the run
  double tokens_per_second = kNone;
  double seconds = 0;  ///< since the start of the run

  double perplexity() const;
};

/// metrics.jsonl, to which rows are appended one by one: each is in the file when append returns.
class MetricsFile {
 public:
  explicit MetricsFile(const PathAt& path) : file_(path) {}
  void append(const MetricsRow& row);
  /// Waits until the rows are on the disk.
  void flush() { file_.flush(); }

 private:
  AppendFile file_;
};

/// The rows of a file; an incomplete last line, as a crash leaves it, is passed over. Errors name the file and the line.
std::vector<MetricsRow> read_metrics(const PathAt& path);
/// Behind the name of a metrics file: what was in it and was no row.
constexpr const char* kUnreadable = ".unreadable";
/// Drops the rows after `step`, which a resumed run is about to write again, and lines that are no rows, as a power cut leaves
/// them. Those go to the file `<path>.unreadable`; their number is returned. The others keep every byte. No file is as good as an empty one.
/// validated: the validation after `step` is done, too.
int64_t drop_metrics_after(const PathAt& path, int64_t step, bool validated);

}  // namespace mmrec
