#pragma once

#include "generators/common/gemm.h"
#include "generators/common/kernel_generator.h"

namespace mmrec::generators {

/// gemm without packing B, for few rows; text generation has one row. The three layouts are those
/// of gemm_packed.h. Every element of B is used only M times, so packing does not pay:
/// B is read once, from where it lies. The limit is the bandwidth of the cache or memory that holds
/// B.
template <class T, Layout layout, bool of_bf16 = false>
class GemmDirect : public GemmGenerator<ProductGenerator<T>, layout, of_bf16> {
 public:
  Tunable tile_columns{this, "tile_columns", 64, {32, 64, 128, 256}};  // nn, tn
  Tunable dots_at_once{
      this, "dots_at_once", 4, {1, 2, 4, 8}};  // nt: dot products computed side by side
  Tunable tiles_per_task{                      // nt: a tile is `dots_at_once` dot products
                         this,
                         "tiles_per_task",
                         16,
                         {2, 4, 8, 16, 32, 64}};

  void generate() {
    start_at_zero(this->a, this->b, this->bias, this->residual, this->c);
    layout == Layout::kNT ? dot_products() : row_sums();
  }

 private:
  Var n{"n"}, m{"m"};

  /// nn, tn: rows of C are sums of rows of B. The last tile overlaps the one before, so that all
  /// loads of B are whole vectors; it stores only its own columns.
  void row_sums() {
    const int columns = tile_columns;
    const Expr N = this->N(), K = this->K();
    auto& c = this->c;
    const RDom k(0, this->terms(K), "k");
    Func sums("sums");
    Var column("column"), tile("tile");
    const auto first = [&](Expr tile) { return min(tile * columns, N - columns); };
    sums(column, tile, m) = 0.f;
    sums(column, tile, m) = this->plus_product(sums(column, tile, m), this->a_term(k, m),
                                               this->b_term(first(tile) + column, k));
    // If B is narrower than a tile, whole vectors may not fit.
    Func narrow("narrow");
    narrow(n, m) = 0.f;
    narrow(n, m) = this->plus_product(narrow(n, m), this->a_term(k, m), this->b_term(n, k));
    c(n, m) = select(N >= columns, sums(n - first(n / columns), n / columns, m), narrow(n, m)) +
              this->bias(n) + this->scaled_residual(n, m);

    c.bound(n, 0, N).split(n, tile, n, columns, TailStrategy::GuardWithIf).reorder(n, m, tile);
    c.vectorize(n, this->lanes(), TailStrategy::GuardWithIf).parallel(tile);
    sums.bound(column, 0, columns).bound_extent(tile, 1).bound_extent(m, 1);
    sums.compute_at(c, m).vectorize(column, this->lanes()).unroll(column);
    sums.update().reorder(column, k).vectorize(column, this->lanes()).unroll(column);
    narrow.compute_at(c, m);
    narrow.update().reorder(n, k).vectorize(n, this->lanes(), TailStrategy::GuardWithIf);
    if (of_bf16) sums.update().specialize(bf16_pairs_are_whole(K));
    c.specialize(N >= columns);
  }

  /// nt: elements of C are dot products of rows, with kLanes partial sums each.
  void dot_products() {
    constexpr int lanes = kLanes;
    const int at_once = dots_at_once;
    const Expr N = this->N(), K = this->terms(this->K());
    auto& c = this->c;
    const RDom chunk(0, K / lanes, "chunk"), rest(0, K % lanes, "rest");
    Func partial("partial"), dot("dot");
    Var l("l"), column("column"), tile("tile");
    const Expr row = min(tile * at_once + column, N - 1);
    partial(l, column, tile, m) = 0.f;
    partial(l, column, tile, m) =
        this->plus_product(partial(l, column, tile, m), this->a_term(chunk * lanes + l, m),
                           this->b_term(row, chunk * lanes + l));
    const LaneTree tree(partial, {column, tile, m}, [](Expr a, Expr b) { return a + b; });
    dot(column, tile, m) = tree.root();
    const Expr last = K / lanes * lanes + rest;
    dot(column, tile, m) =
        this->plus_product(dot(column, tile, m), this->a_term(last, m), this->b_term(row, last));
    c(n, m) = dot(n % at_once, n / at_once, m) + this->bias(n) + this->scaled_residual(n, m);

    Var task("task");
    c.bound(n, 0, N)
        .split(n, tile, n, at_once, TailStrategy::GuardWithIf)
        .split(tile, task, tile, int(tiles_per_task), TailStrategy::GuardWithIf);
    c.reorder(n, tile, m, task).parallel(task);
    const auto one_tile = [&](Func f) {
      f.bound(column, 0, at_once).bound_extent(tile, 1).bound_extent(m, 1).compute_at(c, tile);
    };
    one_tile(dot);
    dot.unroll(column);
    dot.update().reorder(column, rest).unroll(column);
    tree.schedule([&](Func half, Var lane) {
      one_tile(half);
      half.vectorize(lane).unroll(column);
    });
    one_tile(partial);
    partial.bound(l, 0, lanes).vectorize(l).unroll(column);
    partial.update().reorder(l, column, chunk).vectorize(l).unroll(column);
  }
};

}  // namespace mmrec::generators
