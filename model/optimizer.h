#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "model/parameters.h"

namespace mmrec {

/// The documented AdamW settings. Weight decay applies to all parameters. With the algorithm muon,
/// the hidden matrices get Muon's steps, and all else AdamW's.
struct OptimizerSettings {
  std::string algorithm = "adamw";  ///< or "muon"
  float learning_rate = 3e-4f;      ///< peak of the schedule, if there is one
  float beta1 = 0.9f, beta2 = 0.95f, epsilon = 1e-8f, decay = 0.1f;
  /// Muon's peak, which follows the schedule in proportion, and weight decay
  float muon_learning_rate = 0.009f, muon_decay = 0.11f;
  /// The hidden matrices take turns at Muon's steps, so that a step has 1 / muon_every of their
  /// cost: each has one in so many steps, as many times as large.
  int muon_every = 1;
  float clip = 1.f;  ///< maximum of the gradients' global norm; 0: no clipping
  /// decay rate of the weights' exponential moving average, which is then what the model is; in the
  /// first steps the average forgets faster. 0: no average
  float average = 0;
};

/// Returns where the parts of the flat arrays begin whose moments and steps `count` processes take
/// over, and where the last one ends: about equal parts, none of which cuts a matrix of Muon's.
std::vector<int64_t> optimizer_shares(const std::vector<Parameter>& table,
                                      std::string_view algorithm, int count);

/// Clips the gradients and does step number `step` (from 1) at AdamW's `learning_rate`. Returns the
/// global norm before clipping. If the norm is not finite, changes nothing; see first_non_finite.
/// Muon's momentum is in the first moments. Changes the weights of parameters.moments_range();
/// share_weights: called then, to get the others from the processes that have them. Computes in
/// float32, whatever the thread's precision is.
double optimizer_step(Parameters& parameters, const OptimizerSettings& settings,
                      double learning_rate, int64_t step,
                      const std::function<void()>& share_weights = {});

/// FLOPs of the matrix products in a step: none with AdamW. Counts all hidden matrices, also those
/// that never have a gradient.
double optimizer_flops(const std::vector<Parameter>& table, const OptimizerSettings& settings);

/// Throws a UsageError if there is no such algorithm.
void check_algorithm(std::string_view algorithm);

/// Returns the name of the first parameter that has a non-finite element in the flat array, or "".
std::string first_non_finite(const Parameters& parameters, const Tensor& flat);

}  // namespace mmrec
