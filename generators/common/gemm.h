#pragma once

#include <Halide.h>

#include "generators/common/kernel_generator.h"

namespace mmrec::generators {

using namespace Halide;

enum class Layout { kNN, kNT, kTN };

/// Common base of the gemm variants (runtime/ops/gemm.h): C = A B + bias + beta R. A, B or neither
/// is transposed in memory. `Base` is the generator base class that the variant's schedule needs.
template <class Base, Layout layout>
class GemmGenerator : public Base {
 public:
  using Matrix = GeneratorInput<Buffer<float, 2>>;
  Matrix a{"a"}, b{"b"};
  GeneratorInput<Buffer<float, 1>> bias{"bias"};
  Matrix residual{"residual"};
  GeneratorInput<float> beta{"beta"};
  GeneratorOutput<Buffer<float, 2>> c{"c"};

 protected:
  Expr M() const { return c.dim(1).extent(); }
  Expr N() const { return c.dim(0).extent(); }
  Expr K() const { return layout == Layout::kTN ? a.dim(1).extent() : a.dim(0).extent(); }
  Expr a_at(Expr k, Expr m) const { return layout == Layout::kTN ? a(m, k) : a(k, m); }
  Expr b_at(Expr n, Expr k) const { return layout == Layout::kNT ? b(k, n) : b(n, k); }

  /// Returns beta R. The select makes the term 0 for beta = 0, even if R is uninitialised (NaN).
  Expr scaled_residual(Expr n, Expr m) const {
    return select(beta == 0.f, 0.f, beta * residual(n, m));
  }
};

}  // namespace mmrec::generators
