#pragma once

#include "runtime/ops/weight.h"
#include "runtime/tensor.h"

namespace mmrec::ops {

/// Weights, or their gradients, of the two small MLPs that compute MDI's decay gamma. Matrices are
/// [out][in]; R = D / 4 in the model. All are packed, or none.
struct MdiGammaWeights {
  Weight gamma_in;        ///< mdi.W_gamma.0 [R][D]
  Tensor gamma_in_bias;   ///< [R]
  Weight gamma_out;       ///< mdi.W_gamma.2 [D][R]
  Tensor gamma_out_bias;  ///< [D]
  // mdi.W_context.0 and .2, same shapes
  Weight context_in;
  Tensor context_in_bias;
  Weight context_out;
  Tensor context_out_bias;
};

/// Intermediate results that mdi_gamma_forward keeps for mdi_gamma_backward.
struct MdiGammaSaved {
  Tensor gamma_hidden, context_hidden;    ///< [N][R], before gelu
  Tensor gamma_sigmoid, context_sigmoid;  ///< [N][D], both factors of the decay
};

/// gm = clamp(sigmoid(G2 gelu(G1 z)) * sigmoid(C2 gelu(C1 k)), kMdiGammaMin, 1 - kMdiGammaMin). G,
/// C: the gamma and context MLPs, with their biases. z, k [N][D] (rows may be strided) -> gm
/// [N][D].
void mdi_gamma_forward(const Tensor& z, const Tensor& k, const MdiGammaWeights& weights,
                       const MdiGammaSaved& saved, const Tensor& gm);

/// Gradient of mdi_gamma_forward. The gradient with respect to gm is dgm_scale * dgm. dz =
/// dz_residual + gradient with respect to z (dz_residual may be dz itself), dk = gradient with
/// respect to k; all [N][D]. Adds the weight gradients to `gradients`. The gradient is zero where
/// the clamp is active.
void mdi_gamma_backward(const Tensor& dgm, float dgm_scale, const Tensor& dz_residual,
                        const Tensor& z, const Tensor& k, const MdiGammaWeights& weights,
                        const MdiGammaSaved& saved, const Tensor& dz, const Tensor& dk,
                        const MdiGammaWeights& gradients);

}  // namespace mmrec::ops
