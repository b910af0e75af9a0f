#pragma once

#include <cstdint>

#include "train/ranks/ranks.h"
#include "train/run/data.h"
#include "train/run/options.h"

namespace mmrec {

/// What the parts of a run take, in seconds.
struct RunCosts {
  double step = 0;
  double validated_token = 0;
  double save = 0;    ///< of a checkpoint
  double sample = 0;  ///< of a text of --sample-tokens
};

/// Measures the parts of a new run that may take `seconds`: makes a trainer, takes steps for a
/// twentieth of the time, six seconds at most, and then does each of the other parts once. The
/// checkpoint is written to options.out, because disks differ, and removed.
RunCosts measure_costs(double seconds, const TrainOptions& options, const RunData& data,
                       Ranks& ranks = Ranks::alone());

/// Returns the seconds that a run of so many steps takes from its first step on. Where the recipe
/// chooses validations and checkpoints, they are those of a run of this length. Each validation
/// counts as the best so far, and so has a checkpoint.
double run_seconds(const RunCosts& costs, TrainOptions options, int64_t steps, const RunData& data);

/// Returns the steps of a run that takes so long, 1 at least.
int64_t steps_within(double seconds, const RunCosts& costs, const TrainOptions& options,
                     const RunData& data);

}  // namespace mmrec
