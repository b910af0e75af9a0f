#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "train/report/findings.h"
#include "train/run/metrics.h"

namespace mmrec {

/// The training steps of an epoch, and its last validation. Steps with a non-finite loss are
/// excluded from all figures.
struct EpochSummary {
  int64_t epoch = 0;
  int64_t first_step = 0, last_step = 0;
  double start = 0, end = 0, mean = 0, minimum = 0, maximum = 0;  ///< of the loss
  double accuracy = 0;                                            ///< mean
  double seconds = 0;
  std::optional<MetricsRow> validation = {};
};

/// A phase of a growing run (--grow) that has begun.
struct PhaseSummary {
  std::string size;  ///< as it was given: "mini", "mini+heads=8"
  int64_t first_step = 0, last_step = 0;
  std::optional<MetricsRow> best = {};  ///< validation with the lowest loss
};

/// A run, summarised from its metrics.
struct RunReport {
  std::string name = {};
  std::filesystem::path folder = {};
  std::vector<MetricsRow> train = {}, validation = {};  ///< sorted by step
  std::vector<EpochSummary> epochs = {};
  std::vector<PhaseSummary> phases = {};  ///< empty unless the run grows
  /// Validation with the lowest loss; of a growing run, as best_model, in its last phase.
  std::optional<MetricsRow> best = {};
  double median_speed = 0;             ///< tokens/s, over the steps
  std::vector<Finding> findings = {};  ///< see find_problems()
  std::string sample = {};             ///< last generated text, or ""
  bool live = false;                   ///< whether a process is training it
  std::string precision = {};          ///< of its newest checkpoint's steps; "": unknown
  /// The steps it is to have in all (of a growing run, at the end of the phase), or 0: unknown.
  int64_t planned_steps = 0;

  /// The first step of the phase that the run is in, or has ended with.
  int64_t phase_start() const { return phases.empty() ? 1 : phases.back().first_step; }
  int64_t steps() const { return train.back().step; }
  int64_t tokens() const { return train.back().tokens; }
  double seconds() const;
  /// Returns the seconds until the planned steps are done at the pace of the last steps; NaN if
  /// that is unknown.
  double seconds_left() const;
};

/// Reads a run. `path`: the run's folder or its metrics.jsonl. Throws an Error if there are no
/// metrics of a training step.
RunReport read_run(const std::filesystem::path& path);
/// Reads several runs and gives them distinct names. Reports unreadable runs to `warn` and leaves
/// them out. Throws if none can be read.
std::vector<RunReport> read_runs(
    const std::vector<std::string>& paths,
    const std::function<void(const std::string& problem)>& warn = [](const std::string&) {},
    bool may_be_none = false);

/// Returns rows that show the course of the learning rate: the first, the peak, the last, and some
/// between.
std::vector<MetricsRow> learning_rate_trace(const RunReport& run, int at_most);

/// Returns the training step with the largest finite value of a figure; nullptr if there is none.
const MetricsRow* row_with_largest(const RunReport& run, double MetricsRow::*figure);

/// Returns the runs' places in order, the best validation first, those without one last: by bits
/// per byte, which compare also where the runs' tokens are different; by loss if a run, of an
/// earlier version, does not have them.
std::vector<size_t> best_first(const std::vector<RunReport>& runs);

/// Formats the bits per byte of a validation; `none` if there is none, or one without them.
std::string bits_per_byte(const std::optional<MetricsRow>& validation, const char* none);

/// Returns the x axis on which the runs' curves are comparable: "step", or "tokens" if their steps
/// differ in size.
std::string common_axis(const std::vector<RunReport>& runs);

/// Returns everything as JSON: [{"name", "steps", .., "epochs": [..], "phases": [..],
/// "best_validation": {..},
/// "learning_rate": [..], "findings": [{"kind", "serious", "text"}, ..]}, ..]
nlohmann::ordered_json to_json(const std::vector<RunReport>& runs);

}  // namespace mmrec
