#pragma once

#include <cstdint>
#include <cstdio>
#include <optional>
#include <string_view>

#include "support/atomic_file.h"
#include "support/console.h"
#include "train/run/metrics.h"

namespace mmrec {

/// What the line before a generated text begins with, and the line after it.
constexpr const char* kSampleHeading = "sample of generated text";
constexpr const char* kSampleEnd = "end of the sample";

/// What a run says: on standard output (unless quiet) and, without colours, at the end of a log file.
class RunLog {
 public:
  RunLog(const PathAt& file, bool quiet, std::FILE* output = stdout) : file_(file), console_(quiet, output) {}

  void line(std::string_view text, Style style = Style::kPlain);
  /// A line for the file alone.
  void note(std::string_view text);
  /// Console's, which is not logged.
  bool has_status() const { return console_.has_status(); }
  void status(std::string_view text) { console_.status(text); }
  size_t status_width() const { return console_.status_width(); }

 private:
  AppendFile file_;
  Console console_;
};

/// The display of a run's progress: a status line that is redrawn at most ten times a second where there is one, else a plain
/// line every ten seconds or twentieth of the run, and the last step in any case.
class Progress {
 public:
  Progress(RunLog& log, int64_t steps, int64_t epochs) : log_(log), steps_(steps), epochs_(epochs) {}
  /// Once a training step, with its row.
  void update(const MetricsRow& row);

 private:
  RunLog& log_;
  int64_t steps_, epochs_;
  std::optional<MetricsRow> first_, shown_;  // the first update; the last that was displayed
};

}  // namespace mmrec
