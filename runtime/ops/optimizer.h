#pragma once

#include "runtime/tensor.h"

namespace mmrec::ops {

/// AdamW settings of one step. `step` counts from 1.
struct AdamW {
  float learning_rate = 3e-4f, beta1 = 0.9f, beta2 = 0.95f, epsilon = 1e-8f, decay = 0.1f;
  float gradient_scale = 1.f;  ///< factor on the gradient: the clip of the global norm
  int64_t step = 1;
};

/// One AdamW step over flat arrays [n] (Loshchilov & Hutter, 2019), with g' = gradient_scale * g:
///   m = beta1 m + (1 - beta1) g';  v = beta2 v + (1 - beta2) g'^2
///   w = w - learning_rate
///       * (decay * w + (m / (1 - beta1^step)) / (sqrt(v / (1 - beta2^step)) + epsilon))
void adamw(const AdamW& settings, const Tensor& gradient, const Tensor& weight, const Tensor& m,
           const Tensor& v);

/// A step of an exponential moving average, over flat arrays [n]: average += share (weight -
/// average). 0 < share <= 1.
void move_average(float share, const Tensor& weight, const Tensor& average);

/// Returns the sum of x[i]^2 over a flat array [n]. The order of summation does not depend on the
/// number of threads.
double sum_of_squares(const Tensor& x);

}  // namespace mmrec::ops
