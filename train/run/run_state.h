#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>

#include "model/model.h"
#include "train/run/data.h"
#include "train/run/options.h"

namespace mmrec {

/// What --resume needs besides weights, moments and step.
struct TrainingProgress {
  TrainOptions options;
  DataFingerprint data;
  LossSum epoch = {};  ///< sums over the steps of the current epoch
  /// Best validation so far; best_step is 0 before the first validation.
  double best_loss = std::numeric_limits<double>::quiet_NaN();
  int64_t best_step = 0;
  int validations_since_best = 0;
  double seconds = 0;  ///< duration of the run so far
  /// The work after the step that a stop interrupted and that must be redone: kValidation, kSample,
  /// or "".
  std::string unfinished = {};
  static constexpr const char *kValidation = "validation", *kSample = "sample";
};

/// State of a run after a step; stored in checkpoints.
struct RunState {
  int64_t step = 0;      ///< steps taken
  int64_t tokens = 0;    ///< trained on
  uint64_t seed = 0;     ///< of the run; reproduces drawn memory and order of the data
  std::string run = {};  ///< RunFolder::id() of the run; "": no run, or one of an earlier version
  double validation_loss = 0;                     ///< of these weights, or NaN
  std::optional<TrainingProgress> progress = {};  ///< empty in checkpoints that no run wrote
};

}  // namespace mmrec
