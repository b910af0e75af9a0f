#pragma once

#include <Halide.h>

namespace mmrec::generators {

using Halide::Expr;

// Built on exp and erf, which Halide vectorises. Its tanh would call libm for every lane.

inline Expr sigmoid(Expr x) { return 1.f / (1.f + Halide::exp(-x)); }

/// The exact gelu, x Phi(x), and its derivative, Phi(x) + x phi(x).
inline Expr gelu(Expr x) {
  const float half_sqrt = 0.70710678118654752f;  // 1 / sqrt(2)
  return 0.5f * x * (1.f + Halide::erf(x * half_sqrt));
}
inline Expr gelu_derivative(Expr x) {
  const float half_sqrt = 0.70710678118654752f,
              inverse_sqrt_tau = 0.39894228040143268f;  // 1 / sqrt(2), 1 / sqrt(2 pi)
  return 0.5f * (1.f + Halide::erf(x * half_sqrt)) +
         x * inverse_sqrt_tau * Halide::exp(-0.5f * x * x);
}

}  // namespace mmrec::generators
