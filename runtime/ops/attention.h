#pragma once

#include "runtime/ops/weight.h"
#include "runtime/tensor.h"

namespace mmrec::ops {

/// Attention of all N rows over the same S memory slots, per head:
///   p[n,h,:] = softmax_s(q[n,h,:] . keys[s,h,:] / sqrt(D/H))
///   context[n,h,:] = sum_s p[n,h,s] values[s,h,:]
/// q, context [N][D]; keys, values [S][D]; p [N][H][S], which gives the number of heads. Head h
/// owns the columns [h D/H, (h+1) D/H). The keys may be packed.
void attention_forward(const Tensor& q, const Weight& keys, const Tensor& values, const Tensor& p,
                       const Tensor& context);

/// Gradients of attention_forward: dscores [H][N][S] with respect to the products q[n,h,:] .
/// keys[s,h,:], and dq [N][D] with respect to q.
void attention_backward(const Tensor& dcontext, const Tensor& keys, const Tensor& values,
                        const Tensor& p, const Tensor& dscores, const Tensor& dq);

/// Adds the gradients with respect to keys and values to dkeys and dvalues [S][D]. For a learned
/// memory.
void attention_backward_memory(const Tensor& dcontext, const Tensor& q, const Tensor& p,
                               const Tensor& dscores, const Tensor& dkeys, const Tensor& dvalues);

}  // namespace mmrec::ops
