#pragma once

#include "runtime/tensor.h"

namespace mmrec::ops {

/// Softmax cross-entropy of the logits x E^T:
///   token_loss[n] = log sum_v exp(logit[n,v]) - logit[n,target[n]]
///   correct[n] = 1 if the target's logit is at least as large as every other logit, else 0
/// x [N][D], embedding E [V][D], targets [N] in [0, V) -> token_loss, correct [N]. Throws an Error
/// for any other target. The N x V logits never exist as a whole: the kernels process rows in
/// panels. The unfused variant is the exception.
void linear_cross_entropy(const Tensor& x, const Tensor& embedding, const IntTensor& targets,
                          const Tensor& token_loss, const Tensor& correct);

/// The same, with the gradients of gradient_scale * sum_n token_loss[n]: writes dx [N][D], adds to
/// dembedding [V][D].
void linear_cross_entropy_with_gradient(const Tensor& x, const Tensor& embedding,
                                        const IntTensor& targets, float gradient_scale,
                                        const Tensor& token_loss, const Tensor& correct,
                                        const Tensor& dx, const Tensor& dembedding);

}  // namespace mmrec::ops
