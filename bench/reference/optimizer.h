#pragma once

#include "bench/reference/array.h"
#include "runtime/ops/optimizer.h"

namespace mmrec::reference {

struct AdamWState {
  Array weight, m, v;
};

inline AdamWState adamw(const ops::AdamW& settings, const Array& gradient, AdamWState state) {
  const double beta1 = settings.beta1, beta2 = settings.beta2,
               step = static_cast<double>(settings.step);
  const Real correction1 = 1 - std::pow(beta1, step), correction2 = 1 - std::pow(beta2, step);
  for (size_t i = 0; i < gradient.count(); ++i) {
    const Real g = settings.gradient_scale * gradient[i];
    Real &w = state.weight[i], &m = state.m[i], &v = state.v[i];
    m = beta1 * m + (1 - beta1) * g;
    v = beta2 * v + (1 - beta2) * (g * g);
    w = w -
        settings.learning_rate *
            (settings.decay * w + (m / correction1) / (sqrt(v / correction2) + settings.epsilon));
  }
  return state;
}

inline Array move_average(float share, const Array& weight, Array average) {
  for (size_t i = 0; i < average.count(); ++i)
    average[i] = average[i] + share * (weight[i] - average[i]);
  return average;
}

/// No partial sum may be so long that its rounding shows: the bound is a few roundings, not one for
/// each of n terms.
inline Real sum_of_squares(const Array& x) {
  const double sum = dot(x, x);
  return {sum, 8 * sum};
}

}  // namespace mmrec::reference
