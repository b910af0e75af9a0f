#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "train/run/metrics.h"

namespace mmrec {

/// The training steps of an epoch, and the last validation in it. Steps whose loss is not finite are in no figure.
struct EpochSummary {
  int64_t epoch = 0;
  int64_t first_step = 0, last_step = 0;
  double start = 0, end = 0, mean = 0, minimum = 0, maximum = 0;  ///< loss
  double accuracy = 0;                                            ///< mean
  double seconds = 0;
  std::optional<MetricsRow> validation = {};
};

/// A run as its metrics tell it.
struct RunReport {
  std::string name = {};
  std::filesystem::path folder = {};
  std::vector<MetricsRow> train = {}, validation = {};  ///< in the order of the steps
  std::vector<EpochSummary> epochs = {};
  std::optional<MetricsRow> best = {};     ///< the validation of the lowest loss
  double median_speed = 0;                 ///< tokens/s of the steps
  std::vector<std::string> warnings = {};  ///< what is not finite, overfitting, a state that outgrows the training's windows, ..
  std::string warmup_warning = {};         ///< of a warm-up that fills the run, which is among the warnings too; "" of another
  std::string sample = {};                 ///< the last text that the run generated, or ""

  int64_t steps() const { return train.back().step; }
  int64_t tokens() const { return train.back().tokens; }
  double seconds() const;
};

/// `path`: a run's folder, or its metrics.jsonl. Throws an Error where there are no metrics of a training step.
RunReport read_run(const std::filesystem::path& path);
/// Several, by names that tell them apart. One that cannot be read is left out, which `warn` is told, unless there is no other.
std::vector<RunReport> read_runs(
    const std::vector<std::string>& paths, const std::function<void(const std::string& problem)>& warn = [](const std::string&) {});

/// Steps at which the learning rate is worth telling: the first, the peak, the last, and some between.
std::vector<MetricsRow> learning_rate_trace(const RunReport& run, int at_most);

/// "step", or "tokens" where the runs' steps are not of the same size: what their curves can be compared over.
std::string common_axis(const std::vector<RunReport>& runs);

/// All of it: [{"name", "steps", .., "epochs": [..], "best_validation": {..}, "learning_rate": [..], "warnings": [..]}, ..]
nlohmann::ordered_json to_json(const std::vector<RunReport>& runs);

}  // namespace mmrec
