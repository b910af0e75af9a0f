#include <Eigen/Core>

#include "bench/rivals/rivals.h"

namespace mmrec::bench {

namespace {

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Operand = Eigen::Map<const Matrix>;

template <class A, class B>
void multiply(const A& a, const B& b, Eigen::Map<Matrix> c) {
  c.noalias() = a * b;
}

std::function<void()> prepare(const Product& p, int threads) {
  set_openmp_threads(threads);
  return [p] {
    const Operand a(p.a, p.a_transposed ? p.K : p.M, p.a_transposed ? p.M : p.K),
        b(p.b, p.b_transposed ? p.N : p.K, p.b_transposed ? p.K : p.N);
    const Eigen::Map<Matrix> c(p.c, p.M, p.N);
    if (p.a_transposed)
      p.b_transposed ? multiply(a.transpose(), b.transpose(), c) : multiply(a.transpose(), b, c);
    else
      p.b_transposed ? multiply(a, b.transpose(), c) : multiply(a, b, c);
  };
}

}  // namespace

Rival eigen() {
  return {"eigen",
          "Eigen " + std::to_string(EIGEN_WORLD_VERSION) + "." +
              std::to_string(EIGEN_MAJOR_VERSION) + "." + std::to_string(EIGEN_MINOR_VERSION) +
              " (" + Eigen::SimdInstructionSetsInUse() + ")",
          false, prepare, rest_openmp};
}

}  // namespace mmrec::bench
