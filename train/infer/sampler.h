#pragma once

#include <cstdint>
#include <span>
#include <variant>
#include <vector>

#include "support/bounds.h"

namespace mmrec {

/// How to choose the next token from the logits.
struct Sampling {
  double temperature = 0.8;  ///< divides the logits; 0: greedy
  bool greedy = false;       ///< always the most probable token
  int64_t top_k = 0;         ///< keep the k most probable tokens; 0: all
  double top_p = 1;          ///< keep the most probable tokens with this total probability
  double min_p = 0;          ///< keep tokens with this part of the likeliest one's probability
  /// for recent tokens: divides positive logits, multiplies negative ones
  double repetition_penalty = 1;
  int64_t repetition_window = 64;  ///< number of recent tokens
  uint64_t seed = 42;

  bool is_greedy() const { return greedy || temperature == 0; }
};

/// A row of the table of the programs' options for Sampling. The seed is an option of every
/// program.
struct SamplingOption {
  const char* name;  ///< on the command line, without dashes
  std::variant<bool Sampling::*, int64_t Sampling::*, double Sampling::*> member;
  const char* help;
  Bounds bounds = {};
};

/// The table, in the order of --help.
std::span<const SamplingOption> sampling_options();

/// Chooses tokens by Sampling, in this order: repetition penalty (Keskar et al., "CTRL", 2019),
/// temperature, top-k, then top-p (Holtzman et al., "The curious case of neural text degeneration",
/// 2020) of what top-k left, then min-p (Nguyen et al., "Turning up the heat", 2024). Never chooses
/// <UNK> or <PAD>.
class Sampler {
 public:
  explicit Sampler(const Sampling& sampling) : sampling_(sampling) {}

  /// logits: of all tokens, by id. recent: the last tokens of the text. random: uniform in [0, 1).
  /// Throws an Error if a logit is not finite or if there is no token to choose.
  int32_t choose(std::span<const float> logits, std::span<const int32_t> recent, double random);

 private:
  struct Token {
    double value;  // first the logit, then the weight
    int32_t id;
  };
  void penalise(std::span<const int32_t> recent);
  void keep_top_k();
  void keep_top_p();
  void keep_min_p();

  Sampling sampling_;
  std::vector<Token> candidates_;
};

}  // namespace mmrec
