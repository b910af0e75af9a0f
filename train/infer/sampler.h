#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace mmrec {

/// How the next token is chosen from the logits.
struct Sampling {
  double temperature = 0.8;        ///< divides the logits; 0: as greedy
  bool greedy = false;             ///< the most probable token
  int64_t top_k = 0;               ///< only the k most probable tokens; 0: all
  double top_p = 1;                ///< only the most probable tokens that together have this probability
  double repetition_penalty = 1;   ///< of tokens among the last ones: positive logits are divided by it, others multiplied
  int64_t repetition_window = 64;  ///< how many tokens are the last ones
  uint64_t seed = 42;
};

/// Chooses tokens by Sampling: the penalty (Keskar et al., "CTRL", 2019) first, then the temperature, then top-k, then top-p
/// (Holtzman et al., "The curious case of neural text degeneration", 2020) of what is left. <UNK> and <PAD> are never chosen.
class Sampler {
 public:
  explicit Sampler(const Sampling& sampling) : sampling_(sampling) {}

  /// logits: of all tokens by id; recent: the last tokens of the text; random: uniform in [0, 1). Throws an Error where the
  /// logits are not finite or no token can be chosen.
  int32_t choose(std::span<const float> logits, std::span<const int32_t> recent, double random);

 private:
  struct Candidate {
    double value;  // the logit, then the weight
    int32_t id;
  };
  void penalise(std::span<const int32_t> recent);
  void keep_top_k();
  void keep_top_p();

  Sampling sampling_;
  std::vector<Candidate> candidates_;
};

}  // namespace mmrec
