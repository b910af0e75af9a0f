#pragma once

#include "generators/common/gemm.h"
#include "generators/common/matmul.h"

namespace mmrec::generators {

/// gemm for products whose B is larger than the caches (runtime/ops/gemm.h). gemm_packed packs all
/// of B, and reads it once for each task of some rows: from memory, if B is too large. Here a task
/// is a block of C, and its sums wait in the L2 cache while k goes on block by block, for each of
/// which the parts of the factors are packed that fit there, too. The sums are still added in the
/// order of k, so the bits are gemm_packed's. 512 x 20000 x 512 and 512 x 512 x 20000 take 0.5 to
/// 0.65 of gemm_packed's time. Products that fit the caches take up to 1.1 of it.
/// kernels.def chooses it from 16 MiB of B on. Measured on two cores: with many more, `blocks`
/// should be tuned.
template <class T, Layout layout, bool of_bf16 = false>
class GemmBlocked : public GemmGenerator<MatmulGenerator<T>, layout, of_bf16> {
 public:
  Tunable depth_block{this, "depth_block", 512, {128, 256, 512}};  // of k
  Tunable row_block{this, "row_block", 512, {128, 256, 512}};      // of a task, at most
  Tunable column_block{this, "column_block", 128, {128, 256, 512}};
  Tunable blocks{this, "blocks", 4, {4, 8, 16, 32}};  // minimum number of tasks

  void generate() {
    start_at_zero(this->a, this->b, this->bias, this->residual, this->c);
    const int lanes = this->lanes(), rows = this->rows_of_tile(),
              columns = this->vectors_of_tile() * lanes;
    const Expr M = this->M(), N = this->N();
    const RDom k(0, this->terms(this->K()), "k");
    auto& c = this->c;
    Var n("n"), m("m"), column("column"), column_tile("column_tile"), row("row"),
        row_tile("row_tile");
    constexpr bool over_rows = layout == Layout::kTN;  // then A is packed: see Matmul
    Panels a_panels("a_panels", M, rows, lanes, [&](Expr m, Expr k) { return this->a_term(k, m); });
    Panels b_panels("b_panels", N, columns, lanes,
                    [&](Expr n, Expr k) { return this->b_term(n, k); });
    Func sums("sums");
    sums(column, row, column_tile, row_tile) = 0.f;
    sums(column, row, column_tile, row_tile) = this->plus_product(
        sums(column, row, column_tile, row_tile),
        over_rows ? a_panels(row, k, row_tile) : this->a_term(k, min(row_tile * rows + row, M - 1)),
        b_panels(column, k, column_tile));
    c(n, m) = sums(n % columns, m % rows, n / columns, m / rows) + this->bias(n) +
              this->scaled_residual(n, m);

    Var column_group("column_group"), row_group("row_group"), task("task");
    const auto ceil_divide = [](const Expr& a, int b) { return (a + (b - 1)) / b; };
    const Expr row_tiles = ceil_divide(M, rows),
               column_groups = ceil_divide(ceil_divide(N, columns), column_block / columns),
               row_tiles_per_task = clamp(ceil_divide(row_tiles * column_groups, blocks), 1,
                                          (row_block + rows - 1) / rows);
    c.bound(n, 0, N)
        .bound(m, 0, M)
        .split(n, column_tile, n, columns, TailStrategy::GuardWithIf)
        .split(column_tile, column_group, column_tile, column_block / columns,
               TailStrategy::GuardWithIf)
        .split(m, row_tile, m, rows, TailStrategy::GuardWithIf)
        .split(row_tile, row_group, row_tile, row_tiles_per_task, TailStrategy::GuardWithIf)
        .reorder(n, m, row_tile, column_tile, row_group, column_group)
        .vectorize(n, lanes, TailStrategy::GuardWithIf)
        .fuse(row_group, column_group, task)
        .parallel(task);
    RVar block("block"), inner("inner");
    sums.bound(column, 0, columns).bound(row, 0, rows).compute_at(c, task);
    sums.vectorize(column, lanes).unroll(column).unroll(row);
    sums.update()
        .split(k, block, inner, int(depth_block), TailStrategy::GuardWithIf)
        .reorder(column, row, inner, row_tile, column_tile, block)
        .vectorize(column, lanes)
        .unroll(column)
        .unroll(row);
    b_panels.schedule_at(sums, block, layout != Layout::kNT);
    if (over_rows) a_panels.schedule_at(sums, block, true);
    c.specialize(this->beta == 0.f);  // then R is not read
  }
};

}  // namespace mmrec::generators
