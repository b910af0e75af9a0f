#pragma once

#include "generators/common/gemm.h"
#include "generators/common/matmul.h"

namespace mmrec::generators {

/// C = A B + bias + beta R in the three layouts that a linear layer needs (runtime/ops/gemm.h).
/// common/matmul.h describes how B is packed, and the register tile. Measured on two Zen 4 cores
/// (2.6 GHz base, FMA peak about 236 GFLOP/s): 180-200 GFLOP/s at M = 512 with N, K in 128..512.
template <class T, Layout layout, bool of_bf16 = false>
class GemmPacked : public GemmGenerator<MatmulGenerator<T>, layout, of_bf16> {
 public:
  void generate() {
    start_at_zero(this->a, this->b, this->bias, this->residual, this->c);
    Var n("n"), m("m");
    Matmul product(
        "product", this->M(), this->N(), this->K(),
        [&](Expr k, Expr row) { return this->a_at(k, row); },
        [&](Expr column, Expr k) { return this->b_at(column, k); },
        layout == Layout::kTN ? this->tile_over_rows() : this->tile());
    this->c(n, m) = product(n, m) + this->bias(n) + this->scaled_residual(n, m);
    product.divide_columns_first();
    product.schedule(this->c, n, m);
    this->c.specialize(this->beta == 0.f);  // then R is not read
  }
};

}  // namespace mmrec::generators
