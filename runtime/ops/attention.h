#pragma once

#include "runtime/tensor.h"

namespace mmrec::ops {

/// Attention of all rows over the same S memory slots, per head: p[n,h,:] = softmax_s(q[n,h,:] . keys[s,h,:] / sqrt(D/H)),
/// context[n,h,:] = sum_s p[n,h,s] values[s,h,:]. q, context [N][D], keys, values [S][D] (head h owns the columns
/// [h D/H, (h+1) D/H)), p [N][H][S] gives the number of heads.
void attention_forward(const Tensor& q, const Tensor& keys, const Tensor& values, const Tensor& p, const Tensor& context);

/// Gradient of attention_forward in q; the memory takes none.
void attention_backward(const Tensor& dcontext, const Tensor& keys, const Tensor& values, const Tensor& p, const Tensor& dq);

}  // namespace mmrec::ops
