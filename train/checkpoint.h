#pragma once

#include <cstdint>
#include <filesystem>

#include "model/config.h"
#include "model/memory.h"
#include "model/parameters.h"
#include "train/tokenizer.h"

namespace mmrec {

/// Where a run stood when a checkpoint was written.
struct RunState {
  int64_t step = 0;            ///< steps taken
  int64_t tokens = 0;          ///< trained on
  uint64_t seed = 0;           ///< of the run: with it, memory and order are what they were
  double validation_loss = 0;  ///< of these weights, or NaN
};

// A checkpoint is a folder: config.json, tokenizer.json, model.safetensors (the weights by their names),
// optimizer.safetensors (`m.NAME`, `v.NAME`) and state.json, which has the run's state and every file's size and checksum.

/// Writes a checkpoint as a whole or not at all.
void save_checkpoint(const std::filesystem::path& folder, const Config& config, const Tokenizer& tokenizer, const Parameters& parameters,
                     const RunState& state);

/// A checkpoint that has been read and checked. Anything missing, truncated or altered throws an Error that says what.
struct Checkpoint {
  /// `path`: a checkpoint's folder, or a run's, of which the best model is taken, else the final one, else the latest.
  explicit Checkpoint(const std::filesystem::path& path);

  std::filesystem::path folder;
  RunState state;
  Config config;
  Tokenizer tokenizer;

  /// The weights, in place of what `parameters` (of the same configuration) holds.
  void read_weights(Parameters& parameters) const;
};

/// The number of ids that can be predicted: the tokenizer's where the embedding is just that size, rounded up
/// (`--vocab auto`), else all rows of the embedding.
int model_vocabulary(const Config& config, const Tokenizer& tokenizer);

}  // namespace mmrec
