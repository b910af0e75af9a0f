#pragma once

#include "runtime/tensor.h"

namespace mmrec::ops {

/// Softmax cross-entropy of the logits x E^T against targets: token_loss[n] = log sum_v exp(logit[n,v]) - logit[n,target[n]],
/// correct[n] = 1 where the target's logit is the largest (it is at least as large as every other), else 0.
/// x [N][D], embedding [V][D], targets [N] in [0, V) (anything else throws) -> token_loss, correct [N]. The N x V logits never exist as a
/// whole: rows are worked off in panels, except by the unfused variant.
void linear_cross_entropy(const Tensor& x, const Tensor& embedding, const IntTensor& targets, const Tensor& token_loss, const Tensor& correct);

/// The same with the gradients of gradient_scale * sum_n token_loss[n]: dx [N][D], and dembedding [V][D], which is added to.
void linear_cross_entropy_with_gradient(const Tensor& x, const Tensor& embedding, const IntTensor& targets, float gradient_scale,
                                        const Tensor& token_loss, const Tensor& correct, const Tensor& dx, const Tensor& dembedding);

}  // namespace mmrec::ops
