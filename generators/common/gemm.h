#pragma once

#include <Halide.h>

#include <type_traits>

#include "generators/common/kernel_generator.h"

namespace mmrec::generators {

using namespace Halide;

enum class Layout { kNN, kNT, kTN };

/// Common base of the gemm variants (runtime/ops/gemm.h): C = A B + bias + beta R. A, B or neither
/// is transposed in memory. `Base` is the generator base class that the variant's schedule needs.
///
/// of_bf16: A and B are arrays of bfloat16, and a term of a sum is a pair (common/bf16.h). Where k
/// is a matrix's inner dimension, its rows have an even length and come as pairs.
template <class Base, Layout layout, bool of_bf16 = false>
class GemmGenerator : public Base {
 public:
  template <bool k_is_inner>
  using Element =
      std::conditional_t<!of_bf16, float, std::conditional_t<k_is_inner, int32_t, uint16_t>>;
  GeneratorInput<Buffer<Element<layout != Layout::kTN>, 2>> a{"a"};
  GeneratorInput<Buffer<Element<layout == Layout::kNT>, 2>> b{"b"};
  GeneratorInput<Buffer<float, 1>> bias{"bias"};
  GeneratorInput<Buffer<float, 2>> residual{"residual"};
  GeneratorInput<float> beta{"beta"};
  GeneratorOutput<Buffer<float, 2>> c{"c"};

 protected:
  Expr M() const { return c.dim(1).extent(); }
  Expr N() const { return c.dim(0).extent(); }
  Expr K() const {
    if (layout == Layout::kTN) return a.dim(1).extent();
    if (!of_bf16) return a.dim(0).extent();
    return layout == Layout::kNN ? b.dim(1).extent() : 2 * a.dim(0).extent();
  }
  /// Element k of a row of A, and of a column of B; pair k of a matrix that comes as pairs.
  Expr a_at(Expr k, Expr m) const {
    return layout == Layout::kTN ? Expr(a(m, k)) : as_pair(a(k, m));
  }
  Expr b_at(Expr n, Expr k) const {
    return layout == Layout::kNT ? as_pair(b(k, n)) : Expr(b(n, k));
  }
  /// The factors of a sum's term k.
  Expr a_term(const Expr& k, const Expr& m) const {
    return term(k, [&](const Expr& k) { return a_at(k, m); });
  }
  Expr b_term(const Expr& n, const Expr& k) const {
    return term(k, [&](const Expr& k) { return b_at(n, k); });
  }

  /// Returns beta R. The select makes the term 0 for beta = 0, even if R is uninitialised (NaN).
  Expr scaled_residual(Expr n, Expr m) const {
    return select(beta == 0.f, 0.f, beta * residual(n, m));
  }

 private:
  static Expr as_pair(const Expr& x) { return of_bf16 ? reinterpret<uint32_t>(x) : x; }
  template <class Element>
  Expr term(const Expr& k, const Element& element) const {
    const bool is_term = !of_bf16 || element(k).type() == UInt(32);
    return is_term ? element(k) : bf16_pair_of(K(), k, element);
  }
};

}  // namespace mmrec::generators
