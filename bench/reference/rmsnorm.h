#pragma once

#include "bench/reference/array.h"

namespace mmrec::reference {

/// Epsilon, added to the root-mean-square outside the root.
inline constexpr double kNormEpsilon = 1e-6f;

struct Rmsnorm {
  Array y, rstd;
};

inline Real root_mean_square(const Array& x, int row) {
  Real sum = 0;
  for (int d = 0; d < x.size(1); ++d) sum += x(row, d) * x(row, d);
  return sqrt(sum / x.size(1));
}

/// y = w x rstd with rstd = 1 / (rms(x) + eps), row by row.
inline Rmsnorm rmsnorm_forward(const Array& x, const Array& w) {
  Rmsnorm result{Array(x.shape()), Array{x.size(0)}};
  for (int n = 0; n < x.size(0); ++n) {
    result.rstd(n) = 1 / (root_mean_square(x, n) + kNormEpsilon);
    for (int d = 0; d < x.size(1); ++d) result.y(n, d) = w(d) * x(n, d) * result.rstd(n);
  }
  return result;
}

struct RmsnormGradient {
  Array dx, dw;
};

/// Product rule with d rstd / d x_d = -rstd^2 x_d / (D rms), defined as 0 for a row of zeros.
inline RmsnormGradient rmsnorm_backward(const Array& dy, const Array& residual, const Array& x,
                                        const Array& w) {
  RmsnormGradient gradient{Array(x.shape()), Array(w.shape())};
  for (int n = 0; n < x.size(0); ++n) {
    const Real rms = root_mean_square(x, n), rstd = 1 / (rms + kNormEpsilon);
    Real drstd = 0;
    for (int d = 0; d < x.size(1); ++d) drstd += dy(n, d) * w(d) * x(n, d);
    for (int d = 0; d < x.size(1); ++d) {
      const Real through_rstd =
          rms.value > 0 ? drstd * rstd * rstd * (x(n, d) / (x.size(1) * rms)) : 0;
      gradient.dx(n, d) = residual(n, d) + dy(n, d) * w(d) * rstd - through_rstd;
      gradient.dw(d) += dy(n, d) * x(n, d) * rstd;
    }
  }
  return gradient;
}

}  // namespace mmrec::reference
