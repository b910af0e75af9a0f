#pragma once

#include <filesystem>
#include <functional>

#include "train/ranks/ranks.h"
#include "train/run/options.h"

namespace mmrec {

// Runs a Trainer and records the run in its folder: checkpoint_step_NNNNNN, best_model,
// final_checkpoint (folders), latest (name of the newest), metrics.jsonl, training_output.log,
// config.json, and event files with tensorboard. Both functions return 0 when the run has ended, or
// the signal (see StopSignals) that stopped it; a stopped run has saved itself.

/// Trains a new model in options.out, from a checkpoint's weights if options.init is set.
/// ranks: this process leads them; the others follow(), see follow.h.
int train(const TrainOptions& options, Ranks& ranks = Ranks::alone());

/// Resumes a run bit for bit, as if it had never stopped. Takes the named checkpoint, or the newest
/// valid one of a run's folder. `change` receives the options stored in the checkpoint and may
/// modify them.
int resume_training(const std::filesystem::path& run_or_checkpoint,
                    const std::function<void(TrainOptions&)>& change,
                    Ranks& ranks = Ranks::alone());

}  // namespace mmrec
