#pragma once

#include "tests/reference/array.h"

namespace mmrec::reference {

/// Added to the root-mean-square, outside the root.
inline constexpr double kNormEpsilon = 1e-6f;

struct Rmsnorm {
  Array y, scale;
};

inline Real root_mean_square(const Array& x, int row) {
  Real sum = 0;
  for (int d = 0; d < x.size(1); ++d) sum += x(row, d) * x(row, d);
  return sqrt(sum / x.size(1));
}

/// y = w x scale with scale = 1 / (rms(x) + eps), row by row.
inline Rmsnorm rmsnorm_forward(const Array& x, const Array& w) {
  Rmsnorm result{Array(x.shape()), Array{x.size(0)}};
  for (int n = 0; n < x.size(0); ++n) {
    result.scale(n) = 1 / (root_mean_square(x, n) + kNormEpsilon);
    for (int d = 0; d < x.size(1); ++d) result.y(n, d) = w(d) * x(n, d) * result.scale(n);
  }
  return result;
}

struct RmsnormGradient {
  Array dx, dw;
};

/// By the product rule, with d scale / d x_d = -scale^2 x_d / (D rms), which a row of zeros takes as 0.
inline RmsnormGradient rmsnorm_backward(const Array& dy, const Array& residual, const Array& x, const Array& w) {
  RmsnormGradient gradient{Array(x.shape()), Array(w.shape())};
  for (int n = 0; n < x.size(0); ++n) {
    const Real rms = root_mean_square(x, n), scale = 1 / (rms + kNormEpsilon);
    Real dscale = 0;
    for (int d = 0; d < x.size(1); ++d) dscale += dy(n, d) * w(d) * x(n, d);
    for (int d = 0; d < x.size(1); ++d) {
      const Real through_scale = rms.value > 0 ? dscale * scale * scale * (x(n, d) / (x.size(1) * rms)) : 0;
      gradient.dx(n, d) = residual(n, d) + dy(n, d) * w(d) * scale - through_scale;
      gradient.dw(d) += dy(n, d) * x(n, d) * scale;
    }
  }
  return gradient;
}

}  // namespace mmrec::reference
