#pragma once

#include "bench/reference/gemm.h"
#include "bench/reference/rmsnorm.h"

namespace mmrec::reference {

struct Hem {
  Array rstd, y;
};

/// y = rmsnorm(x, norm_weight) W^T + b.
inline Hem hem_forward(const Array& x, const Array& norm_weight, const Array& weight,
                       const Array& bias) {
  const Rmsnorm norm = rmsnorm_forward(x, norm_weight);
  return {norm.rstd, linear_forward(norm.y, weight, bias)};
}

struct HemGradient {
  Array dx, dnorm_weight, dweight, dbias;
};

inline HemGradient hem_backward(const Array& dy, const Array& residual, const Array& x,
                                const Array& norm_weight, const Array& weight) {
  const LinearGradient linear = linear_backward(dy, rmsnorm_forward(x, norm_weight).y, weight);
  const RmsnormGradient norm = rmsnorm_backward(linear.dx, residual, x, norm_weight);
  return {norm.dx, norm.dw, linear.dweight, linear.dbias};
}

}  // namespace mmrec::reference
