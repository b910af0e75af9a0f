#pragma once

#include <Halide.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "generators/common/kernel_generator.h"

namespace mmrec::generators {

/// The register tile of a matmul and what is around it.
struct MatmulTile {
  int rows;            // of the register tile; rows * columns / lanes accumulators should fill most of the vector registers
  int columns;         // of the register tile, a multiple of the lanes
  int tiles_per_task;  // register tiles, one above the other, that share a panel of B in the first-level cache
  int tasks;           // that there are at least, where the product is large enough
  int lanes;
};

/// sum_k a(k, m) b(n, k) as a stage inside a larger kernel: the product that every operation here is made of.
///
/// B is packed into panels [n / columns][k][columns], so the inner loop reads whole aligned vectors whatever N and B's layout are; what the
/// last one has past B's edge is left as it is and goes into sums that nobody stores. Rows of A past the end repeat the last row. Every
/// register tile is therefore full and only the consumer's stores are guarded; nothing is read that is not there.
/// On Zen 4 this form reaches 80 to 90 % of the FMA peak for K >= 128.
class Matmul {
 public:
  using Element = std::function<Expr(Expr, Expr)>;

  /// What the consumer does with a sum: so little that it is unrolled over the tile, whose sums then go from the registers where
  /// they are to go (15 % of the time at K = 32, 3 % at K = 128), or so much that this would be all too much code.
  enum class Epilogue { kLight, kHeavy };

  /// a(k, m) and b(n, k) may be any expressions: a is evaluated for every column tile, b once, while it is packed.
  /// `batch` are further variables that both a and b, captured, may use: a product for each of their values.
  Matmul(const std::string& name, Expr M, Expr N, Expr K, const Element& a, const Element& b, MatmulTile tile, std::vector<Var> batch = {})
      : M_(M), N_(N), K_(K), tile_(tile), batch_(std::move(batch)), panel_(name + "_panel"), accumulator_(name + "_accumulator") {
    const RDom k(0, K, name + "_k");
    k_ = k.x;
    RDom column(0, tile_.columns, name + "_column");
    column.where(likely(panel_index_ * tile_.columns + column < N));
    packed_column_ = column.x;
    panel_(with_batch({column_, k_in_panel_, panel_index_})) = undef<float>();
    panel_(with_batch({column, k_in_panel_, panel_index_})) = b(unsafe_promise_clamped(panel_index_ * tile_.columns + column, 0, N - 1), k_in_panel_);
    accumulator_(with_batch({column_, row_, column_tile_, row_tile_})) = 0.f;
    accumulator_(with_batch({column_, row_, column_tile_, row_tile_})) +=
        a(k, min(row_tile_ * tile_.rows + row_, M - 1)) * panel_(with_batch({column_, k, column_tile_}));
  }

  /// Element (n, m) of the product, for the consumer's definition.
  Expr operator()(Expr n, Expr m) const { return accumulator_(with_batch({n % tile_.columns, m % tile_.rows, n / tile_.columns, m / tile_.rows})); }

  /// Lets threads divide the columns before the rows, for sums over many rows with a small result, as weights' gradients are: each
  /// thread then reads all of A but only the panels of B that it has packed itself (tn at 128 x 512 x 512 on two cores that share no
  /// cache: 83 % of the FMA peak instead of 51).
  void divide_columns_first() { columns_first_ = true; }

  /// Lets k run in blocks of a size that divides K: for factors whose index is simpler within one.
  void split_depth(int block) { depth_block_ = block; }

  /// Schedules the product and its one consumer, a Func over (n, m, batch..), as a stage of its own: tasks of row tiles in
  /// parallel; within a task a panel of B serves all its tiles.
  void schedule(Func consumer, Var n, Var m, Epilogue epilogue = Epilogue::kLight) { schedule(consumer, consumer, n, m, epilogue); }

  /// The same for sum(n, m), where `sum` is an output of the kernel that is to be added to: defines and schedules the addition.
  void add_to(Func sum, Var n, Var m, const Expr& value) {
    sum(n, m) = undef<float>();
    sum(n, m) += value;
    schedule(sum, sum.update(), n, m, Epilogue::kLight);
  }

 private:
  void schedule(Func func, Stage consumer, Var n, Var m, Epilogue epilogue) {
    Var column_in_tile("column_in_tile"), row_in_tile("row_in_tile"), column_tile("column_tile"), row_tile("row_tile"), task("task");
    Var column_group("column_group");
    // Tiles begin at multiples of their size: an intermediate consumer must not start where its own consumer happens to.
    func.bound(n, 0, N_).bound(m, 0, M_).compute_root();
    consumer.split(m, row_tile, row_in_tile, tile_.rows, TailStrategy::GuardWithIf)
        .split(n, column_tile, column_in_tile, tile_.columns, TailStrategy::GuardWithIf);
    const Expr row_tiles = (M_ + tile_.rows - 1) / tile_.rows, column_tiles = (N_ + tile_.columns - 1) / tile_.columns;
    // Work of a microsecond is done sooner than shared. (Halide must see that what the loops are split by is positive.)
    const Expr one_task = batch_.empty() ? row_tiles * column_tiles <= kSerial / (tile_.rows * tile_.columns) / max(K_, 1) : Expr(false);
    consumer.split(row_tile, task, row_tile, max(select(one_task, row_tiles, tile_.tiles_per_task), 1), TailStrategy::GuardWithIf);
    // Columns are divided too where the rows alone give too few tasks to balance.
    const Expr row_groups = (row_tiles + tile_.tiles_per_task - 1) / tile_.tiles_per_task;
    consumer.split(column_tile, column_group, column_tile,
                   clamp(select(one_task, column_tiles, row_groups * column_tiles / tile_.tasks), 1, column_tiles), TailStrategy::GuardWithIf);
    std::vector<VarOrRVar> order{column_in_tile, row_in_tile, row_tile, column_tile};
    order.insert(order.end(), batch_.begin(), batch_.end());
    const auto [inner, outer] = columns_first_ ? std::pair(task, column_group) : std::pair(column_group, task);
    order.push_back(inner);
    order.push_back(outer);
    consumer.reorder(order).vectorize(column_in_tile, tile_.lanes, TailStrategy::GuardWithIf).fuse(inner, outer, outer).parallel(outer);
    if (epilogue == Epilogue::kLight) consumer.unroll(column_in_tile).unroll(row_in_tile);

    // Halide cannot prove at the edges that a tile of the consumer needs a single tile of the product.
    accumulator_.bound(column_, 0, tile_.columns).bound(row_, 0, tile_.rows).bound_extent(column_tile_, 1).bound_extent(row_tile_, 1);
    accumulator_.compute_at(func, row_tile).vectorize(column_, tile_.lanes).unroll(column_).unroll(row_);
    Stage sum = accumulator_.update();
    if (depth_block_) {
      RVar k_block("k_block"), k_in_block("k_in_block");
      sum.split(k_, k_block, k_in_block, depth_block_, TailStrategy::GuardWithIf).reorder(column_, row_, k_in_block, k_block);
    } else {
      sum.reorder(column_, row_, k_);
    }
    sum.vectorize(column_, tile_.lanes).unroll(column_).unroll(row_);
    // One vector of columns along all of k, then the next: of a B with k innermost, twice the columns would be twice the rows at
    // the same time, more than the first-level cache has ways for where a row is a multiple of 2 KiB. Only the vector at B's edge is
    // masked; clamping its columns would load it element by element.
    RVar vector("vector"), lane("lane");
    panel_.compute_root().bound(column_, 0, tile_.columns);
    std::vector<VarOrRVar> packing_order{lane, k_in_panel_, vector};
    packing_order.insert(packing_order.end(), batch_.begin(), batch_.end());
    packing_order.push_back(panel_index_);
    panel_.update().split(packed_column_, vector, lane, tile_.lanes).reorder(packing_order).vectorize(lane).parallel(panel_index_);
  }

  std::vector<Expr> with_batch(std::vector<Expr> args) const {
    args.insert(args.end(), batch_.begin(), batch_.end());
    return args;
  }

  static constexpr int kSerial = 1 << 16;  // multiply-adds that one thread does alone, those of filled-up tiles included
  Expr M_, N_, K_;
  MatmulTile tile_;
  std::vector<Var> batch_;
  Func panel_, accumulator_;
  Var column_{"column"}, row_{"row"}, column_tile_{"column_tile"}, row_tile_{"row_tile"}, k_in_panel_{"k_in_panel"}, panel_index_{"panel_index"};
  RVar k_, packed_column_;
  int depth_block_ = 0;
  bool columns_first_ = false;
};

/// Base of the generators that multiply matrices.
template <class T>
class MatmulGenerator : public KernelGenerator<T> {
 public:
  // Of the register tile; 0: by the target's registers.
  Tunable tile_rows{this, "tile_rows", 0, {0, 2, 4, 6, 8, 10, 12, 14}};
  Tunable tile_vectors{this, "tile_vectors", 0, {0, 1, 2, 3, 4}};  // of columns
  Tunable tiles_per_task{this, "tiles_per_task", 2, {1, 2, 4, 8}};
  // Of some microseconds each: enough for a few cores to end together.
  Tunable tasks{this, "tasks", 128, {16, 32, 64, 128, 256}};

  std::string why_rejected() override {
    this->arginfos();  // parameters may be read once this has been asked for
    for (const auto& [value, automatic] : {std::pair(int(tile_rows), automatic_rows()), std::pair(int(tile_vectors), kVectors)})
      if (value == automatic) return "0 says the same as " + std::to_string(value);
    const int needed = rows_of_tile() * vectors_of_tile() + vectors_of_tile() + 1;
    return needed <= this->registers() ? ""
                                       : "the register tile takes " + std::to_string(needed) + " registers of " + std::to_string(this->registers());
  }

 protected:
  /// By default two vectors of columns, and rows for 16 of AVX-512's 32 registers or 12 of AVX2's 16 to be accumulators: enough for the
  /// latency of multiply-adds. More rows of A, 4 KiB apart where K is 1024, would be more than the first-level cache has ways.
  static constexpr int kVectors = 2;
  int automatic_rows() const { return this->lanes() >= 16 ? 8 : 6; }
  int rows_of_tile() const { return tile_rows ? tile_rows : automatic_rows(); }
  int vectors_of_tile() const { return tile_vectors ? tile_vectors : kVectors; }
  MatmulTile tile() const { return {rows_of_tile(), vectors_of_tile() * this->lanes(), tiles_per_task, tasks, this->lanes()}; }
};

}  // namespace mmrec::generators
