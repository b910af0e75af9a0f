#pragma once

#include "runtime/tensor.h"

namespace mmrec::ops {

/// HEM, the fused projection: y = rmsnorm(x, w) W^T + b (see rmsnorm_forward). The normalised rows are never stored: w goes
/// into the weights while they are packed, the row's factor into the product.
/// x [N][D], w [D], W [P][D], b [P] -> rstd [N], y [N][P]. P = 4 D in the model (q k v z), any size here.
void hem_forward(const Tensor& x, const Tensor& norm_weight, const Tensor& weight, const Tensor& bias, const Tensor& rstd, const Tensor& y);

/// Gradient of hem_forward: dX = residual + gradient in x; dnorm_weight [D], dweight [P][D], dbias [P] are added to. `residual` [N][D] is
/// the gradient that reaches x around the block; it may be dX itself.
void hem_backward(const Tensor& dy, const Tensor& residual, const Tensor& x, const Tensor& rstd, const Tensor& norm_weight, const Tensor& weight,
                  const Tensor& dx, const Tensor& dnorm_weight, const Tensor& dweight, const Tensor& dbias);

}  // namespace mmrec::ops
