#pragma once

#include <cstdint>
#include <cstdio>
#include <optional>
#include <string_view>

#include "support/atomic_file.h"
#include "support/console.h"
#include "train/run/metrics.h"

namespace mmrec {

/// The beginning of the line before a generated text, and the line after the text.
constexpr const char* kSampleHeading = "sample of generated text";
constexpr const char* kSampleEnd = "end of the sample";
/// In a run's line about its data: after the steps of an epoch, before those of the run.
constexpr const char* kStepsInAll = " steps an epoch, ";

/// Output of a run: standard output (unless quiet), and a log file that is appended to without
/// colours.
class RunLog {
 public:
  RunLog(const PathAt& file, bool quiet, std::FILE* output = stdout)
      : file_(file), console_(quiet, output) {}

  void line(std::string_view text, Style style = Style::kPlain);
  /// Writes a line to the file only.
  void note(std::string_view text);
  /// The console's status line; it is not logged.
  bool has_status() const { return console_.has_status(); }
  void status(std::string_view text) { console_.status(text); }
  size_t status_width() const { return console_.status_width(); }

 private:
  AppendFile file_;
  Console console_;
};

/// Displays a run's progress. With a status line: redraws it at most ten times a second. Otherwise:
/// prints a line every ten seconds or every twentieth of the run. The last step is always shown.
class Progress {
 public:
  Progress(RunLog& log, int64_t steps, int64_t epochs)
      : log_(log), steps_(steps), epochs_(epochs) {}
  /// Call it once per training step, with the step's row.
  void update(const MetricsRow& row);

 private:
  RunLog& log_;
  int64_t steps_, epochs_;
  std::optional<MetricsRow> first_, shown_;  // first update; last displayed update
};

}  // namespace mmrec
