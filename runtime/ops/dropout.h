#pragma once

#include "runtime/rng.h"
#include "runtime/tensor.h"

namespace mmrec::ops {

/// One dropout mask. Element i (row-major) of a tensor is kept and scaled by 1 / (1 - p) if
/// dropout_bits(key, i) >= dropout_threshold(p); otherwise it becomes 0. The mask is never stored:
/// the backward pass recomputes it.
struct Dropout {
  float p = 0.f;  ///< drop probability in [0, 1); 0: no mask
  DropoutKey key{};
};

/// y = residual + mask (a + beta b). All tensors are [N][D]; rows may be strided.
void dropout_forward(const Tensor& residual, const Tensor& a, const Tensor& b, float beta,
                     const Dropout& mask, const Tensor& y);

/// Gradient of dropout_forward: da = mask dy, db = beta da. The gradient with respect to the
/// residual is dy. da may be dy itself.
void dropout_backward(const Tensor& dy, float beta, const Dropout& mask, const Tensor& da,
                      const Tensor& db);

}  // namespace mmrec::ops
