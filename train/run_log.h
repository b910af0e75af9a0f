#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "train/atomic_file.h"
#include "train/metrics.h"

namespace mmrec {

/// "0:42", "1:05:09".
std::string format_duration(double seconds);

enum class Style { kPlain, kHeading, kWarning };

/// What a run says: on standard output (unless quiet) and, without colours, at the end of a log file.
class RunLog {
 public:
  RunLog(const std::filesystem::path& file, bool quiet, std::FILE* output = stdout);
  ~RunLog();
  RunLog(const RunLog&) = delete;
  RunLog& operator=(const RunLog&) = delete;

  /// A line, or several; colours appear only on a terminal and not under NO_COLOR (https://no-color.org).
  void line(std::string_view text, Style style = Style::kPlain);

  /// Whether there is a status line: on a terminal that can redraw one, unless quiet.
  bool has_status() const { return has_status_; }
  /// Draws the status line in place of the one before; the next line() takes it away. It is not logged. The text is one byte
  /// a column and no wider than status_width().
  void status(std::string_view text);
  size_t status_width() const;

 private:
  void erase_status();

  AppendFile file_;
  std::FILE* output_;
  bool quiet_, has_status_, colour_;
  bool status_shown_ = false;
};

/// The display of a run's progress: a status line that is redrawn at most ten times a second where there is one, else a plain
/// line every ten seconds or twentieth of the run, and the last step in any case.
class Progress {
 public:
  Progress(RunLog& log, int64_t steps, int epochs) : log_(log), steps_(steps), epochs_(epochs) {}
  /// Once a training step, with its row.
  void update(const MetricsRow& row);

 private:
  RunLog& log_;
  int64_t steps_;
  int epochs_;
  std::optional<MetricsRow> first_, shown_;  // the first update; the last that was displayed
};

}  // namespace mmrec
