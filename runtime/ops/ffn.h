#pragma once

#include "runtime/ops/dropout.h"
#include "runtime/ops/weight.h"
#include "runtime/saved_tensor.h"
#include "runtime/tensor.h"

namespace mmrec::ops {

/// Weights, or their gradients, of the feed-forward half of a block. Matrices are [out][in]; F = 4
/// D in the model.
struct FfnWeights {
  Tensor norm;      ///< norm2.weight [D]
  Weight in;        ///< ffn.0 [F][D]; packed: with the norm's factors
  Tensor in_bias;   ///< [F]
  Weight out;       ///< ffn.3 [D][F]; packed if `in` is
  Tensor out_bias;  ///< [D]
};

/// Intermediate results that ffn_forward keeps for ffn_backward.
struct FfnSaved {
  Tensor rstd;            ///< [N], normalisation factor per row
  SavedTensor slope;      ///< [N][F], mask_hidden gelu'(hidden)
  SavedTensor activated;  ///< [N][F], mask_hidden gelu(hidden)
};

/// y = r + mask_out (out (mask_hidden gelu(in rmsnorm(r) + in_bias)) + out_bias). r, y [N][D].
void ffn_forward(const Tensor& r, const FfnWeights& weights, const Dropout& mask_hidden,
                 const Dropout& mask_out, const FfnSaved& saved, const Tensor& y);

/// Gradient of ffn_forward. dr [N][D] is the total gradient with respect to r: the residual path
/// plus the path through the feed-forward network. Adds the weight gradients to `gradients`. Takes
/// the hidden mask from `saved`.
void ffn_backward(const Tensor& dy, const Tensor& r, const FfnWeights& weights,
                  const Dropout& mask_out, const FfnSaved& saved, const Tensor& dr,
                  const FfnWeights& gradients);

}  // namespace mmrec::ops
