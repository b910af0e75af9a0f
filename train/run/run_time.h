#pragma once

#include <cstdint>
#include <vector>

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
/// fortieth of the time, six seconds at most, and then does each of the other parts once. The
/// checkpoint is written to options.out, because disks differ, and removed.
RunCosts measure_costs(double seconds, const TrainOptions& options, const RunData& data,
                       Ranks& ranks = Ranks::alone());

/// What a rank's parts of a step take, in seconds.
struct StepCosts {
  std::vector<double> part = {};  ///< forward and backward pass of a batch: of each step, sorted
  double optimizer = 0;
};

/// Measures them in the given time, or for a few steps, for `ranks` ranks of a node that compute
/// side by side, each with so many threads. Needs the memory of all of them.
StepCosts measure_step(double seconds, const TrainOptions& options, const RunData& data, int ranks,
                       int threads);

/// Returns the seconds that a run of so many steps takes from its first step on. Where the recipe
/// chooses validations and checkpoints, they are those of a run of this length. Each validation
/// counts as the best so far, and so has a checkpoint.
double run_seconds(const RunCosts& costs, TrainOptions options, int64_t steps, const RunData& data);

/// Returns the steps of a run that takes so long, 1 at least.
int64_t steps_within(double seconds, const RunCosts& costs, const TrainOptions& options,
                     const RunData& data);

}  // namespace mmrec
