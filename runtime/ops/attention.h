#pragma once

#include "runtime/tensor.h"

namespace mmrec::ops {

/// Attention of all rows over the same S memory slots, per head: p[n,h,:] = softmax_s(q[n,h,:] . keys[s,h,:] / sqrt(D/H)),
/// context[n,h,:] = sum_s p[n,h,s] values[s,h,:]. q, context [N][D], keys, values [S][D] (head h owns the columns
/// [h D/H, (h+1) D/H)), p [N][H][S] gives the number of heads.
void attention_forward(const Tensor& q, const Tensor& keys, const Tensor& values, const Tensor& p, const Tensor& context);

/// Gradients of attention_forward in the products q[n,h,:] . keys[s,h,:], dscores [H][N][S], and in q.
void attention_backward(const Tensor& dcontext, const Tensor& keys, const Tensor& values, const Tensor& p, const Tensor& dscores, const Tensor& dq);

/// Gradients in keys and values, for a memory that is learned; they are added to.
void attention_backward_memory(const Tensor& dcontext, const Tensor& q, const Tensor& p, const Tensor& dscores, const Tensor& dkeys,
                               const Tensor& dvalues);

}  // namespace mmrec::ops
