#pragma once

#include "runtime/ops/weight.h"
#include "runtime/tensor.h"

namespace mmrec::ops {

/// HEM, the fused projection: y = rmsnorm(x, w) W^T + b (see rmsnorm_forward). The normalised rows
/// are never stored: the kernel multiplies w into W while it packs W, and scales each row of the
/// product by its factor. Shapes: x [N][D], w [D], W [P][D], b [P] -> rstd [N], y [N][P]. P = 4 D
/// in the model (q k v z); any P works here. A packed W contains the norm's factors w already.
void hem_forward(const Tensor& x, const Tensor& norm_weight, const Weight& weight,
                 const Tensor& bias, const Tensor& rstd, const Tensor& y);

/// Gradient of hem_forward: dx = residual + gradient with respect to x. `residual` [N][D] is the
/// gradient that reaches x around the block; it may be dx itself. Adds the weight gradients to
/// dnorm_weight [D], dweight [P][D] and dbias [P].
void hem_backward(const Tensor& dy, const Tensor& residual, const Tensor& x, const Tensor& rstd,
                  const Tensor& norm_weight, const Tensor& weight, const Tensor& dx,
                  const Tensor& dnorm_weight, const Tensor& dweight, const Tensor& dbias);

}  // namespace mmrec::ops
