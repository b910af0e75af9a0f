#pragma once

#include <cstdint>

#include "model/parameters.h"

namespace mmrec {

/// The documented AdamW settings. Weight decay applies to all parameters.
struct OptimizerSettings {
  float learning_rate = 3e-4f;  ///< peak of the schedule, if there is one
  float beta1 = 0.9f, beta2 = 0.95f, epsilon = 1e-8f, decay = 0.1f;
  float clip = 1.f;  ///< maximum of the gradients' global norm; 0: no clipping
};

/// Clips the gradients and does AdamW step number `step` (from 1). Returns the global norm before
/// clipping. If the norm is not finite, changes nothing; see first_non_finite.
double optimizer_step(Parameters& parameters, const OptimizerSettings& settings,
                      double learning_rate, int64_t step);

/// Returns the name of the first parameter that has a non-finite element in the flat array, or "".
std::string first_non_finite(const Parameters& parameters, const Tensor& flat);

}  // namespace mmrec
