#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/model.h"

namespace mmrec {

/// How the next token is chosen.
struct Sampling {
  double temperature = 0.8;  ///< divides the logits
  bool greedy = false;       ///< the most probable token; the temperature does not matter
  uint64_t seed = 42;
};

/// Text from a model, one token at a time: the recurrent state is all that is carried from one to the next, so a token costs
/// the same however long the text is.
class Generator {
 public:
  /// memory_seed: the run's seed, for the memory of evaluation and generation.
  Generator(const Config& config, int vocabulary, Parameters& parameters, uint64_t memory_seed, const Sampling& sampling);

  /// Reads a token and returns the logits of the next [V'], valid until the next call.
  Tensor read(int32_t id);
  /// Chooses the token that follows what was read; read it to go on.
  int32_t choose();

 private:
  Sampling sampling_;
  Model model_;
  Arena arena_;
  Memory memory_;
  IntTensor id_;
  Tensor logits_;
  std::vector<double> weights_;
  uint64_t draws_ = 0;
};

}  // namespace mmrec
