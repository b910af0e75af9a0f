#pragma once

#include "runtime/tensor.h"

namespace mmrec::ops {

/// Round x [N][D] to bfloat16 (nearest, ties to even) and join two elements in 32 bits, the first
/// in the lower half, as products with bfloat16 factors read them (generators/common/bf16.h). NaNs
/// as arithmetic makes them stay, of others some do not. What an odd extent lacks is 0. Neighbours
/// in a row: y [N][ceil(D / 2)].
void bf16_pairs_in_rows(const Tensor& x, const IntTensor& y);
/// Neighbours in a column: y [ceil(N / 2)][D].
void bf16_pairs_in_columns(const Tensor& x, const IntTensor& y);

}  // namespace mmrec::ops
