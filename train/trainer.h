#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "model/config.h"
#include "train/optimizer.h"

namespace mmrec {

/// What `train` is told. Defaults are the documented run's.
struct TrainOptions {
  Config config;
  int vocabulary = 0;  ///< --vocab: the tokenizer's limit and the embedding's rows; 0: auto
  std::string data = "sample";
  std::filesystem::path out;
  bool overwrite = false;
  int epochs = 3;
  int64_t steps = 0;  ///< of the whole run; 0: what the epochs come to
  int batch = 2, sequence = 256;
  OptimizerSettings optimizer;
  double minimum_rate = 3e-5;
  int64_t warmup = 100;
  float dropout = 0.1f;
  double validation_split = 0.1;
  int validation_sequence = 256;
  int patience = 3;             ///< epochs without a better validation loss; 0: no early stopping
  int64_t save_every = 100;     ///< steps; 0: only at the end
  int keep = 3;                 ///< checkpoints of steps that stay on disk
  int64_t sample_tokens = 300;  ///< generated at the end
  uint64_t seed = 42;
  bool quiet = false;
  bool profile = false;
};

/// Trains a model and leaves in options.out: checkpoint_step_NNNNNN, best_model, final_checkpoint (folders), latest (the name
/// of the newest), metrics.jsonl, training_output.log, config.json.
void train(const TrainOptions& options);

}  // namespace mmrec
