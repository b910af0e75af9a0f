// gemm without packing B, for few rows; text generation has one row. The three layouts are those of
// gemm_packed_generator.cpp. Every element of B is used only M times, so packing does not pay: B is
// read once, from where it lies. The limit is the bandwidth of the cache or memory that holds B.
// With bfloat16 factors B is rounded for each row again.
#include "generators/common/gemm.h"
#include "generators/common/kernel_generator.h"

namespace mmrec::generators {

template <class T, Layout layout>
class GemmDirect : public GemmGenerator<ProductGenerator<T>, layout> {
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
    if (layout != Layout::kNT)
      row_sums();
    else if (this->bf16())
      sums_of_pairs();
    else
      dot_products();
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
    Bf16Rows a_pairs = pairs_of_a();
    const auto a = [&](const Expr& k) { return this->bf16() ? a_pairs(k, m) : this->a_at(k, m); };
    const auto b = [&](const Expr& n, const Expr& k) {
      return this->bf16() ? pair_of_b(n, k) : this->b_at(n, k);
    };
    Func sums("sums");
    Var column("column"), tile("tile");
    const auto first = [&](Expr tile) { return min(tile * columns, N - columns); };
    sums(column, tile, m) = 0.f;
    sums(column, tile, m) =
        this->plus_product(sums(column, tile, m), a(k), b(first(tile) + column, k));
    // If B is narrower than a tile, whole vectors may not fit.
    Func narrow("narrow");
    narrow(n, m) = 0.f;
    narrow(n, m) = this->plus_product(narrow(n, m), a(k), b(n, k));
    c(n, m) = select(N >= columns, sums(n - first(n / columns), n / columns, m), narrow(n, m)) +
              this->bias(n) + this->scaled_residual(n, m);

    c.bound(n, 0, N).split(n, tile, n, columns, TailStrategy::GuardWithIf).reorder(n, m, tile);
    c.vectorize(n, this->lanes(), TailStrategy::GuardWithIf).parallel(tile);
    sums.bound(column, 0, columns).bound_extent(tile, 1).bound_extent(m, 1);
    sums.compute_at(c, m).vectorize(column, this->lanes()).unroll(column);
    sums.update().reorder(column, k).vectorize(column, this->lanes()).unroll(column);
    narrow.compute_at(c, m);
    narrow.update().reorder(n, k).vectorize(n, this->lanes(), TailStrategy::GuardWithIf);
    if (this->bf16()) {
      a_pairs.schedule_at(c, tile, this->lanes());
      sums.update().specialize(bf16_pairs_are_whole(K));
    }
    c.specialize(N >= columns);
  }

  Bf16Rows pairs_of_a() {
    return {"a_pairs", this->K(), [&](Expr k, Expr m) { return this->a_at(k, m); }};
  }
  Expr pair_of_b(const Expr& n, const Expr& k) {
    return bf16_pair_of(this->K(), k, [&](const Expr& k) { return this->b_at(n, k); });
  }

  /// nt with bfloat16 factors, whose products are added in the order of k: rows of C again, for
  /// which blocks of B are transposed in registers.
  void sums_of_pairs() {
    constexpr int kSide = Transposed::kSide;
    const int columns = tile_columns;
    const Expr N = this->N(), K = this->K(), blocks = K / (2 * kSide);
    auto& c = this->c;
    const RDom k(0, kSide, 0, blocks, "k"),
        rest(blocks * kSide, this->terms(K) - blocks * kSide, "rest");
    Bf16Rows a_pairs = pairs_of_a();
    Transposed b_pairs("b_pairs", [&](Expr n, Expr k) {
      const Expr row = min(n, N - 1);
      return bf16_pair(this->b_at(row, 2 * k), this->b_at(row, 2 * k + 1));
    });
    Func sums("sums");
    Var column("column"), tile("tile"), vector("vector");
    const Expr at = tile * columns + column, pair = k.y * kSide + k.x;
    sums(column, tile, m) = 0.f;
    sums(column, tile, m) =
        this->plus_product(sums(column, tile, m), a_pairs(pair, m), b_pairs(at, pair));
    sums(column, tile, m) = this->plus_product(sums(column, tile, m), a_pairs(rest, m),
                                               pair_of_b(min(at, N - 1), rest));
    c(n, m) = sums(n % columns, n / columns, m) + this->bias(n) + this->scaled_residual(n, m);

    c.bound(n, 0, N).split(n, tile, n, columns, TailStrategy::GuardWithIf).reorder(n, m, tile);
    c.vectorize(n, this->lanes(), TailStrategy::GuardWithIf).parallel(tile);
    a_pairs.schedule_at(c, tile, this->lanes());
    sums.bound(column, 0, columns).bound_extent(tile, 1).bound_extent(m, 1);
    sums.compute_at(c, m).vectorize(column, this->lanes()).unroll(column);
    sums.update(0)
        .split(column, vector, column, kSide)
        .reorder(column, k.x, vector, k.y)
        .vectorize(column)
        .unroll(k.x);
    b_pairs.schedule_at(sums, vector);
    sums.update(1).reorder(column, rest).vectorize(column, this->lanes()).unroll(column);
  }

  /// nt: elements of C are dot products of rows, with kLanes partial sums each.
  void dot_products() {
    constexpr int lanes = kLanes;
    const int at_once = dots_at_once;
    const Expr N = this->N(), K = this->K();
    auto& c = this->c;
    const RDom chunk(0, K / lanes, "chunk"), rest(0, K % lanes, "rest");
    Func partial("partial"), dot("dot");
    Var l("l"), column("column"), tile("tile");
    const Expr row = min(tile * at_once + column, N - 1);
    partial(l, column, tile, m) = 0.f;
    partial(l, column, tile, m) +=
        this->a_at(chunk * lanes + l, m) * this->b_at(row, chunk * lanes + l);
    const LaneTree tree(partial, {column, tile, m}, [](Expr a, Expr b) { return a + b; });
    dot(column, tile, m) = tree.root();
    dot(column, tile, m) +=
        this->a_at(K / lanes * lanes + rest, m) * this->b_at(row, K / lanes * lanes + rest);
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

class GemmDirectNN : public GemmDirect<GemmDirectNN, Layout::kNN> {};
class GemmDirectNT : public GemmDirect<GemmDirectNT, Layout::kNT> {};
class GemmDirectTN : public GemmDirect<GemmDirectTN, Layout::kTN> {};

}  // namespace mmrec::generators

HALIDE_REGISTER_GENERATOR(mmrec::generators::GemmDirectNN, gemm_direct_nn)
HALIDE_REGISTER_GENERATOR(mmrec::generators::GemmDirectNT, gemm_direct_nt)
HALIDE_REGISTER_GENERATOR(mmrec::generators::GemmDirectTN, gemm_direct_tn)
