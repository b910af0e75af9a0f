#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/model.h"
#include "train/data/tokenizer.h"
#include "train/infer/sampler.h"

namespace mmrec {

/// What a text begins with that continues nothing: a newline, or the unknown token where the model knows none.
std::vector<int32_t> neutral_prompt(const Tokenizer& tokenizer);

/// Text from a model, one token at a time, several samples side by side in one batch: the recurrent state is all that is
/// carried from one token to the next, so a token costs the same however long the text is.
class TextGenerator {
 public:
  /// seed: the run's, for what the model draws. Sample b draws from a random stream of its own.
  /// trained_window: tokens of the training's windows, for the error where the state outgrows them; 0: not known.
  TextGenerator(const Config& config, int vocabulary, Parameters& parameters, uint64_t seed, const Sampling& sampling, int samples = 1,
                int trained_window = 0);

  /// What all samples begin with, at least one token; before anything else, and once.
  void read_prompt(std::span<const int32_t> ids);
  /// Reads a token of each sample and returns the logits of the next, [samples][V'], valid until the next call.
  Tensor read(std::span<const int32_t> ids);
  /// Chooses the token that follows in each sample; read them to go on.
  std::span<const int32_t> choose();

 private:
  Sampling sampling_;
  Sampler sampler_;
  Model window_, token_, model_;  // prompt: windows of it, tokens of the rest; then the samples' tokens
  Arena arena_;
  IntTensor window_ids_, token_id_, ids_;
  Tensor logits_;
  std::vector<std::vector<int32_t>> recent_;  // each sample's last tokens, repetition_window of them
  std::vector<int32_t> chosen_;
  uint64_t draws_ = 0;
  int trained_window_;
  int64_t tokens_ = 0;  // that each sample's state has gone through
};

}  // namespace mmrec
