// gemm with the weights of a linear layer as B, packed beforehand, for few rows
// (runtime/ops/gemm.h, runtime/ops/weight.h). The limit is the bandwidth of the cache or memory
// that holds B.
#include "generators/common/matmul.h"

namespace mmrec::generators {

class GemmFewPacked : public MatmulGenerator<GemmFewPacked> {
 public:
  Input<Buffer<float, 2>> a{"a"};
  WeightInput<GemmFewPacked, true> b{this, "b"};
  Input<Buffer<float, 1>> bias{"bias"};
  Input<Buffer<float, 2>> residual{"residual"};
  Input<float> beta{"beta"};
  Output<Buffer<float, 2>> c{"c"};

  void generate() {
    start_at_zero(a, b, bias, residual, c);
    Var n("n"), m("m");
    Matmul product(
        "product", c.dim(1).extent(), c.dim(0).extent(), a.dim(0).extent(),
        [&](Expr k, Expr row) { return a(k, row); },
        [&](Expr column, Expr k) { return b.at(k, column, lanes()); },
        tile(Epilogue::kLight, true));
    c(n, m) = b.scaled(product(n, m), n, lanes()) + bias(n) +
              select(beta == 0.f, 0.f, beta * residual(n, m));
    product.schedule(c, n, m);
    c.specialize(beta == 0.f);  // then R is not read
  }
};

}  // namespace mmrec::generators

HALIDE_REGISTER_GENERATOR(mmrec::generators::GemmFewPacked, gemm_few_packed)
