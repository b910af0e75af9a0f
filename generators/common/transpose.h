#pragma once

#include <Halide.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace mmrec::generators {

using namespace Halide;

/// A matrix of 32-bit elements whose rows a vector runs along, for a consumer whose vectors run
/// along its columns: square blocks are transposed in registers. (Otherwise each lane would be
/// loaded alone.)
class Transposed {
 public:
  static constexpr int kSide = 16;  // of a block

  /// element(row, column): the columns lie beside each other in memory. `batch`: further variables
  /// that element uses through capture.
  Transposed(const std::string& name, const std::function<Expr(Expr, Expr)>& element,
             std::vector<Var> batch = {})
      : batch_(std::move(batch)), rows_(name + "_rows"), columns_(name + "_columns") {
    rows_(arguments(column_, row_)) = element(row_, column_);
    columns_(arguments(row_, column_)) = rows_(arguments(column_, row_));
  }

  Expr operator()(const Expr& row, const Expr& column) const {
    return columns_(arguments(row, column));
  }

  /// Transposes in a loop of the consumer, an iteration of which reads one block. `condition`, if
  /// there is one: evaluates the elements in a loop of its own where it holds.
  template <class Loop>
  void schedule_at(Func consumer, const Loop& loop, const Expr& condition = {}) {
    for (Func* block : {&rows_, &columns_})
      block->compute_at(consumer, loop).bound_extent(row_, kSide).bound_extent(column_, kSide);
    rows_.vectorize(column_).unroll(row_);
    if (condition.defined()) rows_.specialize(condition);
    columns_.vectorize(row_).vectorize(column_);
  }

 private:
  std::vector<Expr> arguments(const Expr& first, const Expr& second) const {
    std::vector<Expr> result{first, second};
    result.insert(result.end(), batch_.begin(), batch_.end());
    return result;
  }

  std::vector<Var> batch_;
  Func rows_, columns_;
  Var row_{"row_of_block"}, column_{"column_of_block"};
};

/// Turns what Halide makes of Transposed, one shuffle of a whole block, into shuffles of two
/// vectors each, which CPUs have: two of elements within quarters, then two of whole quarters.
class LowerTransposed : public Internal::IRMutator {
 private:
  using IRMutator::visit;
  using Vectors = std::vector<Expr>;
  static constexpr int kSide = Transposed::kSide, kElements = kSide * kSide, kQuarter = kSide / 4;

  Expr visit(const Internal::Shuffle* shuffle) override {
    const auto* block = shuffle->vectors.front().as<Internal::Load>();
    if (!block || !is_transpose(*shuffle)) return IRMutator::visit(shuffle);
    const auto* place = block->index.as<Internal::Ramp>();
    Vectors rows;
    for (int i = 0; i < kSide; ++i)
      rows.push_back(Internal::Load::make(block->type.with_lanes(kSide), block->name,
                                          Internal::Ramp::make(place->base + i * kSide, 1, kSide),
                                          block->image, block->param, Internal::const_true(kSide),
                                          Internal::ModulusRemainder()));
    return Internal::common_subexpression_elimination(
        Internal::Shuffle::make_concat(transposed(rows)), true);
  }

  static bool is_transpose(const Internal::Shuffle& shuffle) {
    if (shuffle.vectors.size() != 1 || shuffle.indices.size() != kElements ||
        shuffle.vectors.front().type().lanes() != kElements)
      return false;
    for (int i = 0; i < kElements; ++i)
      if (shuffle.indices[i] != i % kSide * kSide + i / kSide) return false;
    return true;
  }

  static Vectors transposed(const Vectors& rows) {
    // [4 g + j]: in quarter q the rows 4 g .. 4 g + 3 of column 4 q + j
    Vectors parts, columns(kSide);
    for (int row = 0; row < kSide; row += 4) {
      const Expr* const r = &rows[row];
      for (const bool upper : {false, true}) {
        const Expr first = interleaved(r[0], r[1], 1, upper),
                   second = interleaved(r[2], r[3], 1, upper);
        for (const bool upper_pairs : {false, true})
          parts.push_back(interleaved(first, second, 2, upper_pairs));
      }
    }
    for (int j = 0; j < 4; ++j)
      for (const int odd : {0, 1}) {
        const Expr first = quarters(parts[j], parts[4 + j], odd),
                   second = quarters(parts[8 + j], parts[12 + j], odd);
        for (const int late : {0, 1})
          columns[4 * (odd + 2 * late) + j] = quarters(first, second, late);
      }
    return columns;
  }

  /// In each quarter, groups of `size` elements of x and y in turn, from the lower or upper half.
  static Expr interleaved(const Expr& x, const Expr& y, int size, bool upper) {
    std::vector<int> indices;
    for (int quarter = 0; quarter < kSide; quarter += kQuarter)
      for (int group = 0; group < kQuarter / 2; group += size)
        for (const int vector : {0, kSide})
          for (int i = 0; i < size; ++i)
            indices.push_back(vector + quarter + (upper ? kQuarter / 2 : 0) + group + i);
    return Internal::Shuffle::make({x, y}, indices);
  }

  /// The quarters 0 and 2, or 1 and 3, of x and then of y.
  static Expr quarters(const Expr& x, const Expr& y, int first) {
    std::vector<int> indices;
    for (const int vector : {0, kSide})
      for (const int quarter : {first, first + 2})
        for (int i = 0; i < kQuarter; ++i) indices.push_back(vector + quarter * kQuarter + i);
    return Internal::Shuffle::make({x, y}, indices);
  }
};

}  // namespace mmrec::generators
