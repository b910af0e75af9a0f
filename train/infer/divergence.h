#pragma once

#include <cstdint>
#include <span>

#include "model/model.h"
#include "train/data/tokens.h"
#include "train/infer/evaluation.h"

namespace mmrec {

/// How far a model's predictions are from those of a reference, as sums over tokens.
struct Divergence {
  double nats = 0;   ///< Kullback-Leibler divergence: sum p log(p / q), p the reference's
  double agree = 0;  ///< tokens for which both have the same most probable one
  int64_t tokens = 0;

  Divergence& operator+=(const Divergence& other) {
    nats += other.nats;
    agree += other.agree;
    tokens += other.tokens;
    return *this;
  }
  double mean() const { return nats / static_cast<double>(tokens); }
  double agreement() const { return agree / static_cast<double>(tokens); }
};

/// Returns the divergence of one prediction, given as logits.
Divergence divergence(std::span<const float> reference, std::span<const float> logits);

/// A model to be compared: weights that round_weights() has rounded for the precision, if that is
/// kInt8.
struct ComparedModel {
  Parameters& parameters;
  Precision precision;
};

/// Returns the divergence of a model from a reference of the same configuration, after each token
/// of a text's windows of `window` tokens, each of which begins with a zero state. Tokens left at
/// the end are unused.
Divergence divergence(const Config& config, int vocabulary, uint64_t seed,
                      const ComparedModel& reference, const ComparedModel& model,
                      const Tokens& text, int window, const EvaluationObserver& observe = {});

}  // namespace mmrec
