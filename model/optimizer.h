#pragma once

#include <cstdint>

#include "model/parameters.h"

namespace mmrec {

/// The documented settings of AdamW; weight decay acts on everything.
struct OptimizerSettings {
  float learning_rate = 3e-4f;  ///< the peak, where there is a schedule
  float beta1 = 0.9f, beta2 = 0.95f, epsilon = 1e-8f, decay = 0.1f;
  float clip = 1.f;  ///< of the gradients' global norm; 0: none
};

/// Clips the gradients and takes step number `step` (from 1). Returns the norm before clipping. Where it is not finite,
/// nothing is changed: see first_non_finite.
double optimizer_step(Parameters& parameters, const OptimizerSettings& settings, double learning_rate, int64_t step);

/// The name of the first parameter whose part of a flat array has an element that is not finite, or "".
std::string first_non_finite(const Parameters& parameters, const Tensor& flat);

}  // namespace mmrec
