#pragma once

#include <filesystem>
#include <functional>

#include "train/run/options.h"

namespace mmrec {

// A Trainer whose run is recorded: it leaves in its folder checkpoint_step_NNNNNN, best_model, final_checkpoint (folders), latest (the name of
// the newest), metrics.jsonl, training_output.log, config.json, and with tensorboard event files. Both functions return the signal (see
// StopSignals) that stopped the run, which has saved itself then, or 0 when it came to its end.

/// Trains a model in options.out; with options.init from a checkpoint's weights.
int train(const TrainOptions& options);

/// Goes on with a run as if it had never stopped, bit for bit: the run in a folder, from its newest good checkpoint, or from
/// the one that is named. `change` is handed the options that the checkpoint has and may make others of them.
int resume_training(const std::filesystem::path& run_or_checkpoint, const std::function<void(TrainOptions&)>& change);

}  // namespace mmrec
