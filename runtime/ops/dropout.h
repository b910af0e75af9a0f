#pragma once

#include "runtime/rng.h"
#include "runtime/tensor.h"

namespace mmrec::ops {

/// One dropout mask: element i (row-major) of the tensor it is laid over is kept, times 1 / (1 - p), where
/// dropout_bits(key, i) >= dropout_threshold(p), else 0. The mask is never stored: the backward pass draws it again.
struct Dropout {
  float p = 0.f;  ///< 0 .. below 1; 0 means no mask
  DropoutKey key{};
};

/// y = residual + mask (a + beta b); all [N][D], rows may be strided.
void dropout_forward(const Tensor& residual, const Tensor& a, const Tensor& b, float beta, const Dropout& mask, const Tensor& y);

/// Gradient of dropout_forward: da = mask dy, db = beta da (the one in the residual is dy). da may be dy itself.
void dropout_backward(const Tensor& dy, float beta, const Dropout& mask, const Tensor& da, const Tensor& db);

}  // namespace mmrec::ops
