#pragma once

#include <Halide.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "generators/common/int8.h"
#include "generators/common/kernel_generator.h"
#include "generators/common/panels.h"
#include "generators/constants/constants.h"

namespace mmrec::generators {

/// Multiply-adds with packed weights that one thread does alone. There are few rows then, and
/// reading the weights, 128 KiB, takes some microseconds: about what several threads would lose.
inline constexpr int kPackedSerial = 1 << 15;

/// The amount of work in a product's consumer.
/// kLight: unroll the consumer; sums are stored from registers. That saves 15 % of the time at K =
/// 32, 3 % at K = 128.
/// kHeavy: do not unroll, since the unrolled code would be too large. The compiler keeps the
/// consumer's constants in registers during the sums.
enum class Epilogue { kLight, kHeavy };

/// The register tile of a matrix product, and how tiles are grouped into tasks.
struct MatmulTile {
  // of the register tile; rows * columns / lanes accumulators should fill most vector registers
  int rows;
  int columns;  // of the register tile; a multiple of the lanes
  // register tiles, one below the other, that share a panel of B in the L1 cache
  int tiles_per_task;
  int tasks;  // minimum number, if the product is large enough
  int lanes;
  Epilogue epilogue;
  bool packed;             // b reads panels that were packed before the call: see WeightInput
  bool over_rows = false;  // pack both factors, whose outer dimension is k: see tile_over_rows()
  bool bf16 = false;       // round the factors to bfloat16 and multiply pairs of them: see bf16.h
  Target target = {};
};

/// sum_k a(k, m) b(n, k) as a stage inside a larger kernel: the product that all operations use.
///
/// B is packed into panels of the register tile's columns, so the inner loop reads whole aligned
/// vectors for any N and any layout of B. If k is A's outer dimension, the rows of a tile lie
/// beside each other, and the next k a whole row of memory away: then A is packed, too. Otherwise A
/// is read as it is, and rows past its end repeat the last row. Therefore every register tile is
/// full, only the consumer's stores are guarded, and nothing is read out of bounds. On Zen 4 this
/// form reaches 80 to 90 % of the FMA peak for K >= 128. If B was packed before the call
/// (MatmulTile::packed), the inner loop reads it as it is.
///
/// With bfloat16 factors, packing also rounds and pairs them, and so A is always copied: a task its
/// own rows, where they are not packed.
class Matmul {
 public:
  using Element = std::function<Expr(Expr, Expr)>;

  /// a(k, m) and b(n, k) may be any expressions. b is evaluated once, during packing, and so is a
  /// if it is packed; otherwise a is evaluated for every column tile. With bfloat16 factors, a may
  /// be pairs already (its k counts these); then it is read as it is. `batch`: further variables
  /// that a and b may use through capture; there is one product for each of their values.
  Matmul(const std::string& name, Expr M, Expr N, Expr K, const Element& a, const Element& b,
         const MatmulTile& tile, std::vector<Var> batch = {})
      : M_(M),
        N_(N),
        K_(K),
        tile_(tile),
        batch_(std::move(batch)),
        accumulator_(name + "_accumulator") {
    const RDom k(0, tile.bf16 ? (K + 1) / 2 : K, name + "_k");
    k_ = k.x;
    const std::vector<Expr> at = with_batch({column_, row_, column_tile_, row_tile_});
    accumulator_(at) = 0.f;
    if (tile.bf16)
      accumulator_(at) = bf16_dot(
          accumulator_(at), row_factor(name, a, k),
          column_factor(name, are_pairs(b) ? b : transposed(pairs(transposed(b))), k), tile.target);
    else
      accumulator_(at) += row_factor(name, a, k) * column_factor(name, b, k);
  }

  /// Element (n, m) of the product, for the consumer's definition.
  Expr operator()(Expr n, Expr m) const {
    return accumulator_(
        with_batch({n % tile_.columns, m % tile_.rows, n / tile_.columns, m / tile_.rows}));
  }

  /// Divides the columns among threads before the rows, unless each copies its own rows of A. Then
  /// a thread reads all of A, but only the panels of B that it has packed itself. (Two cores
  /// without a shared cache: 1.1 times as fast at 512 x 512 x 512, 1.4 times at 128 x 512 x 512.
  /// With a shared one it gains nothing, and between steps that divide the rows it loses some
  /// percent.)
  void divide_columns_first() { columns_first_ = !row_pairs_; }

  /// Runs k in blocks of a size that divides K. For factors whose index expression is simpler
  /// within a block.
  void split_depth(int block) { depth_block_ = block; }

  /// Schedules the product and its only consumer, a Func over (n, m, batch..), as a separate stage:
  /// parallel tasks of row tiles; within a task, one panel of B serves all tiles.
  void schedule(Func consumer, Var n, Var m) { schedule(consumer, consumer, n, m); }

  /// Defines and schedules sum(n, m) += value, where `sum` is an output of the kernel.
  void add_to(Func sum, Var n, Var m, const Expr& value) {
    sum(n, m) = undef<float>();
    sum(n, m) += value;
    schedule(sum, sum.update(), n, m);
  }

 private:
  /// Pair kk of a factor(k, index) is its elements 2 kk and 2 kk + 1. What an odd K lacks is 0;
  /// with an even K, which has loops of its own (even_depth()), nothing is compared.
  Element pairs(const Element& factor) const {
    return [=, this](Expr kk, Expr index) {
      return bf16_pair_of(K_, kk, [&](const Expr& k) { return factor(k, index); });
    };
  }
  static bool are_pairs(const Element& factor) { return factor(0, 0).type() == UInt(32); }
  static Element transposed(const Element& factor) {
    return [=](Expr a, Expr b) { return factor(b, a); };
  }
  Expr even_depth() const { return bf16_pairs_are_whole(K_); }

  /// Element k of a row of the register tile.
  Expr row_factor(const std::string& name, const Element& a, const Expr& k) {
    const Expr row = min(row_tile_ * tile_.rows + row_, M_ - 1);
    if (tile_.over_rows) {
      row_panels_.emplace(name + "_rows", M_, tile_.rows, tile_.lanes,
                          transposed(tile_.bf16 ? pairs(a) : a), batch_);
      return (*row_panels_)(row_, k, row_tile_);
    }
    if (!tile_.bf16 || are_pairs(a)) return a(k, row);
    row_pairs_ = Func(name + "_row_pairs");
    const Var pair("pair"), m("m");
    (*row_pairs_)(with_batch({pair, m})) = pairs(a)(pair, m);
    return (*row_pairs_)(with_batch({k, row}));
  }

  /// Element k of a column of the register tile.
  Expr column_factor(const std::string& name, const Element& b, const Expr& k) {
    if (tile_.packed) return b(column_tile_ * tile_.columns + column_, k);
    column_panels_.emplace(name + "_panel", N_, tile_.columns, tile_.lanes, b, batch_);
    return (*column_panels_)(column_, k, column_tile_);
  }

  void schedule(Func func, Stage consumer, Var n, Var m) {
    const Var row_tile("row_tile");
    // Tiles must begin at multiples of their size: an intermediate consumer must not start where
    // its own consumer does.
    func.bound(n, 0, N_).bound(m, 0, M_).compute_root();
    schedule_consumer(consumer, n, m, row_tile);
    schedule_sums(func, row_tile);
    const Expr whole = tile_.bf16 ? even_depth() : Expr();
    if (column_panels_) column_panels_->schedule(tile_.over_rows, is_one_task(), whole);
    if (row_panels_) row_panels_->schedule(true, is_one_task(), whole);
    if (!row_pairs_) return;
    const Var pair = row_pairs_->args()[0], row = row_pairs_->args()[1];
    const Var rows("rows");
    row_pairs_->compute_root()
        .split(row, rows, row, 32, TailStrategy::GuardWithIf)
        .vectorize(pair, tile_.lanes, TailStrategy::GuardWithIf)
        .parallel(rows)
        .specialize(even_depth());
  }

  Expr row_tiles() const { return (M_ + tile_.rows - 1) / tile_.rows; }
  Expr column_tiles() const { return (N_ + tile_.columns - 1) / tile_.columns; }
  /// Less than a microsecond of work is faster on one thread.
  Expr is_one_task() const {
    if (!batch_.empty()) return Internal::const_false();
    return row_tiles() * column_tiles() <= serial() / (tile_.rows * tile_.columns) / max(K_, 1);
  }

  /// Divides the consumer into tasks, and these into register tiles.
  void schedule_consumer(Stage consumer, Var n, Var m, Var row_tile) {
    Var column_in_tile("column_in_tile"), row_in_tile("row_in_tile"), column_tile("column_tile"),
        task("task"), column_group("column_group");
    consumer.split(m, row_tile, row_in_tile, tile_.rows, TailStrategy::GuardWithIf)
        .split(n, column_tile, column_in_tile, tile_.columns, TailStrategy::GuardWithIf);
    const Expr row_tiles = this->row_tiles(), column_tiles = this->column_tiles(),
               one_task = is_one_task();
    // (max(.., 1): Halide must see that the split factors are positive.)
    consumer.split(row_tile, task, row_tile,
                   max(select(one_task, row_tiles, tile_.tiles_per_task), 1),
                   TailStrategy::GuardWithIf);
    // Divide the columns too, if the rows alone give too few tasks for load balance.
    const Expr row_groups = (row_tiles + tile_.tiles_per_task - 1) / tile_.tiles_per_task;
    consumer.split(column_tile, column_group, column_tile,
                   clamp(select(one_task, column_tiles, row_groups * column_tiles / tile_.tasks), 1,
                         column_tiles),
                   TailStrategy::GuardWithIf);
    std::vector<VarOrRVar> order{column_in_tile, row_in_tile, row_tile, column_tile};
    order.insert(order.end(), batch_.begin(), batch_.end());
    const auto [inner, outer] =
        columns_first_ ? std::pair(task, column_group) : std::pair(column_group, task);
    order.push_back(inner);
    order.push_back(outer);
    consumer.reorder(order)
        .vectorize(column_in_tile, tile_.lanes, TailStrategy::GuardWithIf)
        .fuse(inner, outer, task_)
        .parallel(task_);
    if (tile_.epilogue == Epilogue::kLight) consumer.unroll(column_in_tile).unroll(row_in_tile);
  }

  /// Sums a register tile for each tile of the consumer.
  void schedule_sums(Func consumer, Var row_tile) {
    // At the edges Halide cannot prove that a tile of the consumer needs a single tile of the
    // product.
    accumulator_.bound(column_, 0, tile_.columns)
        .bound(row_, 0, tile_.rows)
        .bound_extent(column_tile_, 1)
        .bound_extent(row_tile_, 1);
    accumulator_.compute_at(consumer, row_tile)
        .vectorize(column_, tile_.lanes)
        .unroll(column_)
        .unroll(row_);
    Stage sum = accumulator_.update();
    if (depth_block_) {
      RVar k_block("k_block"), k_in_block("k_in_block");
      sum.split(k_, k_block, k_in_block, depth_block_, TailStrategy::GuardWithIf)
          .reorder(column_, row_, k_in_block, k_block);
    } else {
      sum.reorder(column_, row_, k_);
    }
    sum.vectorize(column_, tile_.lanes).unroll(column_).unroll(row_);
  }

  std::vector<Expr> with_batch(std::vector<Expr> args) const {
    args.insert(args.end(), batch_.begin(), batch_.end());
    return args;
  }

  /// Multiply-adds that one thread does alone, counting padded tiles.
  int serial() const { return tile_.packed ? kPackedSerial : 1 << 16; }

  Expr M_, N_, K_;
  MatmulTile tile_;
  std::vector<Var> batch_;
  std::optional<Panels> row_panels_, column_panels_;
  std::optional<Func> row_pairs_;  // of bfloat16 factors that are not packed
  Func accumulator_;
  Var task_{"matmul_task"};
  Var column_{"column"}, row_{"row"}, column_tile_{"column_tile"}, row_tile_{"row_tile"};
  RVar k_;
  int depth_block_ = 0;
  bool columns_first_ = false;
};

/// The input of a linear layer's weights [out][in]: rows as they are, or packed beforehand into
/// panels [out / kWeightPanel][in][kWeightPanel] (runtime/ops/weight.h), with bfloat16 factors of
/// pairs along `in`, with int8 weights after the scales of the panel's outputs.
template <class T, bool packed>
class WeightInput
    : public std::conditional_t<packed, typename ProductGenerator<T>::template FactorInput<3>,
                                GeneratorInput<Buffer<float, 2>>> {
 public:
  WeightInput(ProductGenerator<T>* generator, const std::string& name)
    requires packed
      : ProductGenerator<T>::template FactorInput<3>(generator, name) {}
  WeightInput(ProductGenerator<T>*, const std::string& name)
    requires(!packed)
      : GeneratorInput<Buffer<float, 2>>(name) {}

  /// The weight of output n and input k, or pair k; an int8 weight without its scale. Packed: n
  /// are vectors of `lanes` from a multiple of it. Past the last panel it is repeated, for sums
  /// that are never stored.
  Expr at(Expr k, Expr n, int lanes) const {
    if constexpr (packed) {
      if (is_int8()) return cast<float>(element(k + kInt8ScaleRows, n, lanes));
      const Expr weight = element(k, n, lanes);
      return weight.type() == Float(32) ? weight : reinterpret<uint32_t>(weight);
    } else {
      return (*this)(k, n);
    }
  }

  /// A sum of products with the weights of output n: times their scale, if they have one.
  Expr scaled(const Expr& sum, const Expr& n, int lanes) const {
    if constexpr (packed)
      if (is_int8())
        return sum * int8_scale([&](const Expr& row) { return element(row, n, lanes); });
    return sum;
  }

 private:
  bool is_int8() const { return this->type() == Int(8); }

  /// Row `row` of output n's panel.
  Expr element(const Expr& row, const Expr& n, int lanes) const {
    const Expr vector = n / lanes * lanes, last = this->dim(2).extent() - 1;
    return (*this)(vector % kWeightPanel + n % lanes, row, min(vector / kWeightPanel, last));
  }
};

/// Base of the generators that use matrix products.
template <class T>
class MatmulGenerator : public ProductGenerator<T> {
 public:
  // Rows of the register tile; 0: chosen by the target's registers.
  Tunable tile_rows{this, "tile_rows", 0, {0, 2, 4, 6, 8, 10, 12, 14}};
  // vectors of columns of the register tile
  Tunable tile_vectors{this, "tile_vectors", 0, {0, 1, 2, 3, 4}};
  Tunable tiles_per_task{this, "tiles_per_task", 2, {1, 2, 4, 8}};
  // Minimum number of tasks, of some microseconds each: enough that a few cores end at the same
  // time.
  Tunable tasks{this, "tasks", 128, {16, 32, 64, 128, 256}};
  // How many factors a sum over the rows of two arrays packs; 1: only B. See tile_over_rows().
  Tunable packed_factors{this, "packed_factors", 2, {1, 2}};

  std::string why_rejected() override {
    this->arginfos();  // makes the parameters readable
    if (tile_vectors == automatic_vectors())
      return "0 says the same as " + std::to_string(automatic_vectors());
    return why_rejected(tile_rows);
  }

 protected:
  /// Returns why a value of tile_rows, or of a parameter that means the same for another product,
  /// is not worth trying.
  std::string why_rejected(int rows) const {
    // before a heavy epilogue 0 may say fewer rows, but then as many as there are registers for
    const int automatic = automatic_rows(Epilogue::kLight);
    if (rows == automatic) return "0 says the same as " + std::to_string(rows);
    const int needed = (rows ? rows : automatic) * vectors_of_tile() + vectors_of_tile() + 1;
    return needed <= this->registers() ? ""
                                       : "the register tile takes " + std::to_string(needed) +
                                             " registers of " + std::to_string(this->registers());
  }

  /// Default: two vectors of columns with AVX-512, otherwise one, and as many rows as use 16 of
  /// AVX-512's 32 registers or 12 of AVX2's 16 for accumulators, 8 of them before a heavy epilogue.
  /// That covers the latency of multiply-adds. More rows of A, 4 KiB apart at K = 1024, would
  /// exceed the ways of the L1 cache. A single row of int8 weights takes so few bytes that the
  /// latency of multiply-adds would be the limit: it has as many vectors of columns as there are
  /// registers for, up to 8.
  int automatic_vectors() const {
    if (this->int8() && tile_rows == 1) return std::min(this->registers() / 2, 8);
    return this->registers() >= 32 ? 2 : 1;
  }
  int automatic_rows(Epilogue epilogue) const {
    const int vectors = this->registers();
    return std::min(epilogue == Epilogue::kHeavy ? vectors / 2 : vectors - 2, 8);
  }
  int rows_of_tile(Epilogue epilogue = Epilogue::kLight) const {
    return tile_rows ? tile_rows : automatic_rows(epilogue);
  }
  int vectors_of_tile() const { return tile_vectors ? tile_vectors : automatic_vectors(); }
  /// For a sum over the rows of two arrays, as a weight's gradient is: k is the outer dimension of
  /// both factors, so both are packed. (AVX2, 32 KiB of L1 cache: 0.7 to 0.9 of the time of hem's
  /// backward pass, by its size.) Where rows are not a multiple of 4 KiB apart, a CPU whose L1
  /// cache has 48 KiB and 12 ways reads A as it is in 0.8 to 0.97 of the time.
  MatmulTile tile_over_rows() const {
    MatmulTile result = tile();
    result.over_rows = packed_factors == 2;
    return result;
  }
  /// `packed`: for weights that are packed before the call. bf16_rows: at most so many rows by
  /// default with bfloat16 factors. These need registers for what they broadcast, and an epilogue
  /// of many constants leaves none.
  MatmulTile tile(Epilogue epilogue = Epilogue::kLight, bool packed = false,
                  int bf16_rows = 8) const {
    const int rows = rows_of_tile(epilogue);
    return {.rows = this->bf16() && !tile_rows ? std::min(rows, bf16_rows) : rows,
            .columns = vectors_of_tile() * this->lanes(),
            .tiles_per_task = tiles_per_task,
            .tasks = tasks,
            .lanes = this->lanes(),
            .epilogue = epilogue,
            .packed = packed,
            .bf16 = this->bf16(),
            .target = this->get_target()};
  }
};

}  // namespace mmrec::generators
