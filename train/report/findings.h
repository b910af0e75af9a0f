#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "train/run/options.h"

namespace mmrec {

struct RunReport;

/// What a run's user should know about it.
struct Finding {
  /// For programs: "not_finite", "warm-up", "rate", "plateau", "overfitting", "window" (the state
  /// outgrows the training's windows) or "unequal_windows".
  std::string kind;
  bool serious = true;    ///< false: nothing is wrong, but figures need care
  std::string text = {};  ///< what was found and what to do
};

/// For people, where there is no serious finding.
constexpr const char* kNoProblem =
    "every figure is finite, no sign of overfitting, a plateau or too high a learning rate";

/// Looks for problems in a run's figures. options: the run's, if a checkpoint has them. Losses are
/// compared as means over many steps, and differences with their noise.
std::vector<Finding> find_problems(const RunReport& run,
                                   const std::optional<TrainOptions>& options);

/// Returns the text of the first finding of a kind, or "".
std::string text_of(const std::vector<Finding>& findings, std::string_view kind);

}  // namespace mmrec
