#pragma once

#include "runtime/tensor.h"

namespace mmrec::ops {

/// The two small MLPs of MDI's gamma, the decay; weights are [out][in], R = D / 4 in the model. Used for values and for gradients.
struct MdiGammaWeights {
  Tensor gamma_in, gamma_in_bias, gamma_out, gamma_out_bias;          ///< mdi.W_gamma.0 [R][D], [R], .2 [D][R], [D]
  Tensor context_in, context_in_bias, context_out, context_out_bias;  ///< mdi.W_context.0 and .2, likewise
};

/// What mdi_gamma_forward keeps for mdi_gamma_backward.
struct MdiGammaSaved {
  Tensor gamma_hidden, context_hidden;    ///< [N][R], before the gelu
  Tensor gamma_sigmoid, context_sigmoid;  ///< [N][D], the two factors of the decay
};

/// gm = clamp(sigmoid(G2 gelu(G1 z)) * sigmoid(C2 gelu(C1 k)), kMdiGammaMin, 1 - kMdiGammaMin). z, k [N][D] (rows may be strided)
/// -> gm [N][D].
void mdi_gamma_forward(const Tensor& z, const Tensor& k, const MdiGammaWeights& weights, const MdiGammaSaved& saved, const Tensor& gm);

/// Gradient of mdi_gamma_forward for the gradient dgm_scale * dgm in gm: dz = dz_residual + gradient in z (dz_residual may be dz itself), dk =
/// gradient in k, and those of the weights, which are added to. Where the clamp acts the gradient is zero.
void mdi_gamma_backward(const Tensor& dgm, float dgm_scale, const Tensor& dz_residual, const Tensor& z, const Tensor& k,
                        const MdiGammaWeights& weights, const MdiGammaSaved& saved, const Tensor& dz, const Tensor& dk,
                        const MdiGammaWeights& gradients);

}  // namespace mmrec::ops
