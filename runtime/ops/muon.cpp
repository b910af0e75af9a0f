#include "runtime/ops/muon.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "runtime/kernel_registry.h"
#include "runtime/ops/gemm.h"
#include "runtime/ops/gemmt.h"
#include "runtime/ops/optimizer.h"
#include "runtime/scratch.h"

namespace mmrec::ops {

namespace {

// The polynomial of each iteration (Jordan et al., 2024).
constexpr int kIterations = 5;
constexpr float kA = 3.4445f, kB = -4.7750f, kC = 2.0315f;

/// Square matrices of one size in a scratch block.
class Matrices {
 public:
  Matrices(int count, int size) : size_(size), block_(count * bytes()) {}
  Tensor at(int i) const {
    return {reinterpret_cast<float*>(block_.data<char>() + i * bytes()), {size_, size_}};
  }

 private:
  size_t bytes() const { return (size_t{4} * size_ * size_ + 63) / 64 * 64; }
  int size_;
  Scratch block_;
};

/// Returns factor * Q, where Q X is what the iterations make of X: one of `matrices`, of which the
/// first holds A = X X^T. All are overwritten.
Tensor iterate(std::array<Tensor, 4> matrices, float factor) {
  auto& [A, S, Q, free] = matrices;
  for (int iteration = 0; iteration < kIterations; ++iteration) {
    const bool last = iteration + 1 == kIterations;
    const float scale = last ? factor : 1.f;
    // S + a I is what X is multiplied by.
    gemmt_nn(A, A, S, {.alpha = kC, .d = A, .beta = kB});
    if (iteration == 0) {
      std::copy_n(S.data(), S.count(), Q.data());
      for (int i = 0; i < Q.size(0); ++i) Q.at(i).data()[i] += kA;
    } else {
      gemmt_nn(S, Q, free, {.alpha = scale, .d = Q, .beta = scale * kA});
      std::swap(Q, free);
    }
    if (last) break;
    gemmt_nn(S, A, free, {.d = A, .beta = kA});
    gemmt_nn(free, S, A, {.d = free, .beta = kA});
  }
  return Q;
}

void scale(const Tensor& matrix, float factor) {
  for (int row = 0; row < matrix.size(0); ++row) {
    float* const values = matrix.at(row).data();
    for (int column = 0; column < matrix.size(1); ++column) values[column] *= factor;
  }
}

}  // namespace

void muon_momentum(const Muon& settings, const Tensor& gradient, const Tensor& moment,
                   const Tensor& update) {
  check_shape("muon_momentum: gradient", gradient, {-1, -1});
  for (const Tensor& array : {moment, update})
    check_shape("muon_momentum: moment, update", array, {gradient.size(0), gradient.size(1)});
  static Kernel kernel("muon", "momentum");
  kernel({.flops = 6.0 * static_cast<double>(gradient.count()),
          .sizes = {gradient.size(0), gradient.size(1)}},
         gradient, moment, settings.momentum, settings.gradient_scale, moment, update);
}

void muon_momentum(const Muon& settings, const Tensor& gradient, const Tensor& moment) {
  check_shape("muon_momentum: gradient", gradient, {-1, -1});
  const Scratch update(sizeof(float) * gradient.count());
  muon_momentum(settings, gradient, moment,
                Tensor(update.data<float>(), {gradient.size(0), gradient.size(1)}));
}

void muon(const Muon& settings, const Tensor& gradient, const Tensor& weight,
          const Tensor& moment) {
  check_shape("muon: gradient", gradient, {-1, -1});
  const int m = gradient.size(0), n = gradient.size(1), small = std::min(m, n);
  for (const Tensor& array : {weight, moment}) check_shape("muon: weight, moment", array, {m, n});
  if (small == 0) return;
  const Scratch update_block(sizeof(float) * m * n);
  const Tensor update(update_block.data<float>(), {m, n});
  muon_momentum(settings, gradient, moment, update);
  const double squares = sum_of_squares(Tensor(update.data(), {m * n}));
  const float norm = static_cast<float>(std::sqrt(squares)) + 1e-12f;
  const float keep = 1.f - settings.learning_rate * settings.decay;
  if (squares == 0) return scale(weight, keep);
  const Matrices block(4, small);
  const std::array matrices{block.at(0), block.at(1), block.at(2), block.at(3)};
  (m <= n ? gemmt_nt : gemmt_tn)(update, update, matrices[0], {.alpha = 1.f / norm / norm});
  const float factor =
      -settings.learning_rate * 0.2f * std::sqrt(static_cast<float>(std::max(m, n))) / norm;
  const Tensor q = iterate(matrices, factor);
  const GemmEpilogue kept{.residual = weight, .beta = keep};
  if (m <= n)
    gemm_nn(q, update, weight, kept);
  else
    gemm_nn(update, q, weight, kept);
}

double muon_flops(int m, int n) {
  const double small = std::min(m, n), large = std::max(m, n);
  // of small x small products: 3 in the first iteration, 2 in the last, 4 in the others
  constexpr int kProducts = 3 + 4 * (kIterations - 2) + 2;
  return small * (small + 1) * (large + kProducts * small) + 2 * small * small * large;
}

}  // namespace mmrec::ops
