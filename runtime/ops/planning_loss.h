#pragma once

#include "runtime/tensor.h"

namespace mmrec::ops {

/// Weights, or their gradients, of UBOO's two planning MLPs, out(gelu(in x)). Matrices are [D][D],
/// biases [D].
struct PlanningLossWeights {
  Tensor error_in, error_in_bias, error_out, error_out_bias;  ///< mdi.W_planning_error.0 and .2
  /// mdi.W_planning_target.0 and .2
  Tensor target_in, target_in_bias, target_out, target_out_bias;
};

/// Intermediate results that planning_loss_forward keeps for planning_loss_backward, [N][D] each.
struct PlanningLossSaved {
  Tensor m;                             ///< the error MLP's input
  Tensor error_slope, error_activated;  ///< gelu'(hidden), gelu(hidden)
  Tensor target_slope, target_activated;
  Tensor difference;  ///< E(m) - P(h_previous)
};

/// loss[n] = sum_d (E(m[n]) - P(h_previous[n]))_d^2 with m = (1 - g) h_previous + g z + gm
/// h_previous. E and P: the error and the target MLP, with their biases. h_previous, z, g, gm
/// [N][D] (rows may be strided) -> loss [N].
void planning_loss_forward(const Tensor& h_previous, const Tensor& z, const Tensor& g,
                           const Tensor& gm, const PlanningLossWeights& weights,
                           const PlanningLossSaved& saved, const Tensor& loss);

/// Gradient of scale * sum_n loss[n]. dh = dh_residual + gradient with respect to h_previous
/// through P (dh_residual may be dh itself); both [N][D]. m passes no gradient on. Adds the weight
/// gradients to `gradients`.
void planning_loss_backward(float scale, const Tensor& dh_residual, const Tensor& h_previous,
                            const PlanningLossWeights& weights, const PlanningLossSaved& saved,
                            const Tensor& dh, const PlanningLossWeights& gradients);

}  // namespace mmrec::ops
