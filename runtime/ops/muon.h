#pragma once

#include "runtime/tensor.h"

namespace mmrec::ops {

/// Muon settings of one step.
struct Muon {
  float learning_rate = 0.009f, momentum = 0.95f, decay = 0.11f;
  float gradient_scale = 1.f;  ///< factor on the gradient: the clip of the global norm
};

/// M = momentum M + (1 - momentum) g' and U = momentum M + (1 - momentum) g', with g' =
/// gradient_scale * gradient. All [m][n]; rows may be a stride apart.
void muon_momentum(const Muon& settings, const Tensor& gradient, const Tensor& moment,
                   const Tensor& update);

/// The same without U, for a step that leaves the weight as it is.
void muon_momentum(const Muon& settings, const Tensor& gradient, const Tensor& moment);

/// One Muon step (Jordan et al., 2024) of a weight [m][n]: U as in muon_momentum(), then
///   X = U / |U|_F; five times, if m <= n: A = X X^T; X = (a I + b A + c A^2) X
///   W = W - learning_rate * (decay * W + 0.2 sqrt(max(m, n)) X)
/// (m > n: with A = X^T X, from the right). The iteration pushes X's singular values to about 1.
/// It is computed on A alone, [min(m, n)][min(m, n)]: all its matrices are polynomials of the first
/// A, symmetric, and commute. Only the last product is as wide as W. Where U is zero, W only
/// decays.
void muon(const Muon& settings, const Tensor& gradient, const Tensor& weight, const Tensor& moment);

/// FLOPs of its matrix products.
double muon_flops(int m, int n);

}  // namespace mmrec::ops
