// C = A B + bias + beta R in the three layouts that a linear layer needs (runtime/ops/gemm.h); see common/matmul.h for how
// B is packed and the register tile. Measured on two Zen 4 cores (2.6 GHz base, FMA peak about 236 GFLOP/s): 180-200 GFLOP/s
// at M=512, N, K in 128..512.
#include "generators/common/matmul.h"

namespace mmrec::generators {

enum class Layout { kNN, kNT, kTN };

template <class T, Layout layout>
class GemmPacked : public MatmulGenerator<T> {
 public:
  using Matrix = GeneratorInput<Buffer<float, 2>>;
  Matrix a{"a"}, b{"b"};
  GeneratorInput<Buffer<float, 1>> bias{"bias"};
  Matrix residual{"residual"};
  GeneratorInput<float> beta{"beta"};
  GeneratorOutput<Buffer<float, 2>> c{"c"};

  void generate() {
    start_at_zero(a, b, bias, residual, c);
    Var n("n"), m("m");
    const Expr K = layout == Layout::kTN ? a.dim(1).extent() : a.dim(0).extent();
    Matmul product(
        "product", c.dim(1).extent(), c.dim(0).extent(), K, [&](Expr k, Expr row) -> Expr { return layout == Layout::kTN ? a(row, k) : a(k, row); },
        [&](Expr column, Expr k) -> Expr { return layout == Layout::kNT ? b(k, column) : b(column, k); }, this->tile());
    // beta = 0 must not let through what an uninitialised residual holds.
    c(n, m) = product(n, m) + bias(n) + select(beta == 0.f, 0.f, beta * residual(n, m));
    product.schedule(c, n, m);
  }
};

class GemmPackedNN : public GemmPacked<GemmPackedNN, Layout::kNN> {};
class GemmPackedNT : public GemmPacked<GemmPackedNT, Layout::kNT> {};
class GemmPackedTN : public GemmPacked<GemmPackedTN, Layout::kTN> {};

}  // namespace mmrec::generators

HALIDE_REGISTER_GENERATOR(mmrec::generators::GemmPackedNN, gemm_packed_nn)
HALIDE_REGISTER_GENERATOR(mmrec::generators::GemmPackedNT, gemm_packed_nt)
HALIDE_REGISTER_GENERATOR(mmrec::generators::GemmPackedTN, gemm_packed_tn)
