#pragma once

#include "runtime/tensor.h"

namespace mmrec::ops {

/// x[n,:] = table[ids[n],:]. table [V][D], ids [N] in [0, V), x [N][D]. Throws an Error for any
/// other id.
void embedding_forward(const Tensor& table, const IntTensor& ids, const Tensor& x);

/// dtable[ids[n],:] += dx[n,:], in ascending order of n.
void embedding_backward(const Tensor& dx, const IntTensor& ids, const Tensor& dtable);

}  // namespace mmrec::ops
