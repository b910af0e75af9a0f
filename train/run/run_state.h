#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>

#include "model/model.h"
#include "train/run/data.h"
#include "train/run/options.h"

namespace mmrec {

/// What --resume needs of a run beside its weights, moments and step.
struct TrainingProgress {
  TrainOptions options;
  DataFingerprint data;
  LossSum epoch = {};  ///< of the steps so far of the last step's epoch
  /// The best validation so far; best_step is 0 before the first.
  double best_loss = std::numeric_limits<double>::quiet_NaN();
  int64_t best_step = 0;
  int validations_since_best = 0;
  double seconds = 0;  ///< that the run has taken
  /// What was due after the step and a stop has ended, to be done anew: kValidation, kSample, or "".
  std::string unfinished = {};
  static constexpr const char *kValidation = "validation", *kSample = "sample";
};

/// Where a run stands after a step, or stood when a checkpoint was written.
struct RunState {
  int64_t step = 0;                               ///< steps taken
  int64_t tokens = 0;                             ///< trained on
  uint64_t seed = 0;                              ///< of the run: with it, memory and order are what they were
  std::string run = {};                           ///< which run's it is: RunFolder's id; "": no run's, or one's of an earlier version
  double validation_loss = 0;                     ///< of these weights, or NaN
  std::optional<TrainingProgress> progress = {};  ///< checkpoints that no run wrote have none
};

}  // namespace mmrec
