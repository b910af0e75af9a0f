#include "model/optimizer.h"

#include <algorithm>
#include <cmath>

#include "runtime/ops/optimizer.h"

namespace mmrec {

double optimizer_step(Parameters& parameters, const OptimizerSettings& settings,
                      double learning_rate, int64_t step) {
  const double norm = std::sqrt(ops::sum_of_squares(parameters.gradients()));
  if (!std::isfinite(norm)) return norm;
  const ops::AdamW adamw{.learning_rate = static_cast<float>(learning_rate),
                         .beta1 = settings.beta1,
                         .beta2 = settings.beta2,
                         .epsilon = settings.epsilon,
                         .decay = settings.decay,
                         .gradient_scale = settings.clip > 0 && norm > settings.clip
                                               ? static_cast<float>(settings.clip / norm)
                                               : 1.f,
                         .step = step};
  ops::adamw(adamw, parameters.gradients(), parameters.weights(), parameters.first_moments(),
             parameters.second_moments());
  return norm;
}

std::string first_non_finite(const Parameters& parameters, const Tensor& flat) {
  for (const Parameter& parameter : parameters.table()) {
    const float* values = flat.data() + parameter.offset;
    if (!std::all_of(values, values + parameter.count,
                     [](float value) { return std::isfinite(value); }))
      return parameter.name;
  }
  return "";
}

}  // namespace mmrec
