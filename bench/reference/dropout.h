#pragma once

#include "bench/reference/array.h"
#include "runtime/ops/dropout.h"

namespace mmrec::reference {

/// Returns the mask for a tensor of this shape, as factors 0 or 1 / (1 - p).
inline Array dropout_mask(const ops::Dropout& dropout, const std::vector<int>& shape) {
  Array mask(shape);
  const Real kept = dropout.p > 0 ? 1 / (1 - Real(dropout.p)) : 1;
  for (size_t i = 0; i < mask.count(); ++i)
    mask[i] =
        dropout_bits(dropout.key, static_cast<uint32_t>(i)) >= dropout.p * 4294967296.0 ? kept : 0;
  return mask;
}

/// y = residual + mask (a + beta b).
inline Array dropout_forward(const Array& residual, const Array& a, const Array& b, double beta,
                             const ops::Dropout& dropout) {
  return residual +
         dropout_mask(dropout, a.shape()) * map(a, b, [&](Real x, Real y) { return x + beta * y; });
}

struct DropoutGradient {
  Array da, db;
};

inline DropoutGradient dropout_backward(const Array& dy, double beta, const ops::Dropout& dropout) {
  const Array da = dropout_mask(dropout, dy.shape()) * dy;
  return {da, map(da, [&](Real d) { return beta * d; })};
}

}  // namespace mmrec::reference
