#pragma once

#include "runtime/ops/dropout.h"
#include "runtime/tensor.h"

namespace mmrec::ops {

/// The feed-forward half of a block; weights [out][in]; F = 4 D in the model. Used for values and for gradients.
struct FfnWeights {
  Tensor norm;           ///< norm2.weight [D]
  Tensor in, in_bias;    ///< ffn.0 [F][D], [F]
  Tensor out, out_bias;  ///< ffn.3 [D][F], [D]
};

/// What ffn_forward keeps for ffn_backward.
struct FfnSaved {
  Tensor rstd;       ///< [N], the normalisation's factor per row
  Tensor slope;      ///< [N][F], mask_hidden gelu'(hidden)
  Tensor activated;  ///< [N][F], mask_hidden gelu(hidden)
};

/// y = r + mask_out (out (mask_hidden gelu(in rmsnorm(r) + in_bias)) + out_bias). r, y [N][D].
void ffn_forward(const Tensor& r, const FfnWeights& weights, const Dropout& mask_hidden, const Dropout& mask_out, const FfnSaved& saved,
                 const Tensor& y);

/// Gradient of ffn_forward: dr [N][D] (both ways: around and through) and those of the weights, which are added to. The hidden mask is in `saved`.
void ffn_backward(const Tensor& dy, const Tensor& r, const FfnWeights& weights, const Dropout& mask_out, const FfnSaved& saved, const Tensor& dr,
                  const FfnWeights& gradients);

}  // namespace mmrec::ops
