// C = alpha A B + beta D, where the product is known to be symmetric (runtime/ops/gemmt.h). The
// blocks on and below the diagonal are summed, in the order of i (i + 1) / 2 + j; each is then
// written to C, and those below the diagonal a second time, transposed. At M = 128 that is 10 of 16
// blocks, and writing twice costs a tenth of the time.
#include "generators/common/gemm.h"
#include "generators/common/matmul.h"

namespace mmrec::generators {

template <class T, Layout layout>
class GemmtBlocks : public MatmulGenerator<T> {
 public:
  GeneratorInput<Buffer<float, 2>> a{"a"}, b{"b"}, d{"d"};
  GeneratorInput<float> alpha{"alpha"}, beta{"beta"};
  GeneratorOutput<Buffer<float, 2>> c{"c"};

  std::string why_rejected() override {
    this->arginfos();  // makes the parameters readable
    if (kBlock % rows()) return "the rows of a register tile do not divide a block";
    if (kBlock % columns()) return "the columns of a register tile do not divide a block";
    return MatmulGenerator<T>::why_rejected();
  }

  void generate() {
    start_at_zero(a, b, d, c);
    const int lanes = this->lanes(), rows = this->rows(), columns = this->columns();
    const Expr M = c.dim(0).extent(), blocks = (M + (kBlock - 1)) / kBlock,
               triangle = blocks * (blocks + 1) / 2;
    const RDom k(0, layout == Layout::kTN ? a.dim(1).extent() : a.dim(0).extent(), "k");
    Var column("column"), row("row"), column_tile("column_tile"), row_tile("row_tile"),
        block("block"), x("x"), y("y");

    // tn: k is the outer dimension of A, so that is packed, too: see Matmul
    Panels a_panels("a_panels", M, rows, lanes, [&](Expr m, Expr k) { return a(m, k); });
    Panels b_panels("b_panels", M, columns, lanes,
                    [&](Expr n, Expr k) { return layout == Layout::kNT ? b(k, n) : b(n, k); });
    const Expr i = block_row(block, blocks), j = block_column(block, i);
    Func sums("sums"), product("product");
    const Expr tile_of_rows = i * (kBlock / rows) + row_tile;
    sums(column, row, column_tile, row_tile, block) = 0.f;
    sums(column, row, column_tile, row_tile, block) +=
        (layout == Layout::kTN ? a_panels(row, k, tile_of_rows)
                               : a(k, min(tile_of_rows * rows + row, M - 1))) *
        b_panels(column, k, j * (kBlock / columns) + column_tile);
    product(x, y, block) = alpha * sums(x % columns, y % rows, x / columns, y / rows, block);

    product.bound(x, 0, kBlock).bound(y, 0, kBlock).compute_root();
    product.split(y, row_tile, y, rows)
        .split(x, column_tile, x, columns)
        .reorder(x, y, row_tile, column_tile, block)
        .vectorize(x, lanes)
        .unroll(x)
        .unroll(y)
        .parallel(block);
    sums.bound(column, 0, columns)
        .bound(row, 0, rows)
        .compute_at(product, row_tile)
        .vectorize(column, lanes)
        .unroll(column)
        .unroll(row);
    sums.update().reorder(column, row, k).vectorize(column, lanes).unroll(column).unroll(row);
    if (layout == Layout::kTN) a_panels.schedule(true);
    b_panels.schedule(layout == Layout::kTN);

    Var n("n"), m("m");
    c(n, m) = undef<float>();
    write(product, M, triangle, false);
    write(product, M, triangle, true);
    c.specialize(beta == 0.f);  // then D is not read
  }

 private:
  static constexpr int kBlock = 32;

  int rows() const { return this->rows_of_tile(Epilogue::kHeavy); }
  int columns() const { return this->vectors_of_tile() * this->lanes(); }

  /// Row and column of a block of the triangle. (sqrt is exact where the row changes.)
  static Expr block_row(const Expr& block, const Expr& blocks) {
    const Expr root = sqrt(cast<float>(8 * block + 1));
    return unsafe_promise_clamped(cast<int>((root - 1.f) / 2.f), 0, blocks - 1);
  }
  static Expr block_column(const Expr& block, const Expr& row) {
    return unsafe_promise_clamped(block - row * (row + 1) / 2, 0, row);
  }

  /// Writes the blocks to C; `mirrored`: those below the diagonal, transposed.
  void write(Func product, const Expr& M, const Expr& triangle, bool mirrored) {
    RDom r(0, kBlock, 0, kBlock, 0, triangle, mirrored ? "mirrored" : "written");
    const Expr i = block_row(r.z, (M + (kBlock - 1)) / kBlock), j = block_column(r.z, i),
               n = (mirrored ? i : j) * kBlock + r.x, m = (mirrored ? j : i) * kBlock + r.y;
    r.where(m < M);
    if (mirrored) r.where(j < i);
    r.where(likely(n < M));
    const Expr to_n = unsafe_promise_clamped(n, 0, M - 1),
               to_m = unsafe_promise_clamped(m, 0, M - 1);
    const Expr value = mirrored ? product(r.y, r.x, r.z) : product(r.x, r.y, r.z);
    c(to_n, to_m) = value + select(beta == 0.f, 0.f, beta * d(to_n, to_m));
    RVar vector("vector"), lane("lane");
    c.update(mirrored)
        .split(r.x, vector, lane, this->lanes())
        .allow_race_conditions()
        .vectorize(lane);
  }
};

class GemmtBlocksNN : public GemmtBlocks<GemmtBlocksNN, Layout::kNN> {};
class GemmtBlocksNT : public GemmtBlocks<GemmtBlocksNT, Layout::kNT> {};
class GemmtBlocksTN : public GemmtBlocks<GemmtBlocksTN, Layout::kTN> {};

}  // namespace mmrec::generators

HALIDE_REGISTER_GENERATOR(mmrec::generators::GemmtBlocksNN, gemmt_blocks_nn)
HALIDE_REGISTER_GENERATOR(mmrec::generators::GemmtBlocksNT, gemmt_blocks_nt)
HALIDE_REGISTER_GENERATOR(mmrec::generators::GemmtBlocksTN, gemmt_blocks_tn)
