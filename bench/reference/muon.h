#pragma once

#include <algorithm>

#include "bench/reference/gemm.h"
#include "runtime/ops/muon.h"

namespace mmrec::reference {

struct MuonMomentum {
  Array moment, update;
};

inline MuonMomentum muon_momentum(const ops::Muon& settings, const Array& gradient, Array moment) {
  const double momentum = settings.momentum;
  Array update(gradient.shape());
  for (size_t i = 0; i < gradient.count(); ++i) {
    const Real g = (1 - Real(momentum)) * (settings.gradient_scale * gradient[i]);
    moment[i] = momentum * moment[i] + g;
    update[i] = momentum * moment[i] + g;
  }
  return {moment, update};
}

/// X after five iterations of X = (a I + b A + c A^2) X with A = X X^T, from U / |U|_F; transposed
/// where U has more rows than columns.
inline Array orthogonalised(const Array& update) {
  const bool tall = update.size(0) > update.size(1);
  Array x = tall ? transposed(update) : update;
  const double norm = std::sqrt(dot(x, x)) + 1e-12;
  for (size_t i = 0; i < x.count(); ++i) x[i] = x[i].value / norm;
  for (int iteration = 0; iteration < 5; ++iteration) {
    const Array a = gemm_nn(x, transposed(x)), b = map(a, gemm_nn(a, a), [](Real a, Real a2) {
                                                 return -4.7750 * a + 2.0315 * a2;
                                               });
    x = map(x, gemm_nn(b, x), [](Real x, Real bx) { return Real(3.4445 * x.value + bx.value); });
  }
  return tall ? transposed(x) : x;
}

struct MuonState {
  Array weight, moment;
};

inline MuonState muon(const ops::Muon& settings, const Array& gradient, const MuonState& state) {
  const MuonMomentum next = muon_momentum(settings, gradient, state.moment);
  const double scale = 0.2 * std::sqrt(std::max(gradient.size(0), gradient.size(1)));
  return {map(state.weight, orthogonalised(next.update),
              [&](Real w, Real x) {
                return w - settings.learning_rate * (settings.decay * w + scale * x);
              }),
          next.moment};
}

}  // namespace mmrec::reference
