#pragma once

#include "runtime/ops/weight.h"
#include "runtime/tensor.h"

namespace mmrec::ops {

/// Weights, or their gradients, of DPG's low-rank layer. Matrices are [out][in];
/// both are packed, or none.
struct DpgGammaWeights {
  Weight down;       ///< W_gamma_down [R][D]
  Tensor down_bias;  ///< [R]
  Weight up;         ///< W_gamma_up [D][R]
  Tensor up_bias;    ///< [D]
};

/// gamma = clamp(sigmoid(up relu(down z + down_bias) + up_bias), kMdiGammaMin, 1 - kMdiGammaMin).
/// z [N][D] (rows may be strided) -> hidden [N][R], the relu's output, and gamma [N][D]; backward
/// reads both.
void dpg_gamma_forward(const Tensor& z, const DpgGammaWeights& weights, const Tensor& hidden,
                       const Tensor& gamma);

/// Gradient of dpg_gamma_forward. dz = dz_residual + gradient with respect to z (dz_residual may be
/// dz itself); both [N][D]. Adds the weight gradients to `gradients`. The gradient is zero where
/// the clamp is active.
void dpg_gamma_backward(const Tensor& dgamma, const Tensor& dz_residual, const Tensor& z,
                        const DpgGammaWeights& weights, const Tensor& hidden, const Tensor& gamma,
                        const Tensor& dz, const DpgGammaWeights& gradients);

}  // namespace mmrec::ops
