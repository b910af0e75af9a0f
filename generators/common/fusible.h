#pragma once

#include <initializer_list>

#include "generators/common/matmul.h"

namespace mmrec::generators {

/// Base of the generators that make two variants of an operation from one definition. The work
/// before and after the matrix products is written as steps, one Func each.
///   fused    a step is an expression in a product's packing or epilogue, or in another step's loop
///   unfused  a step is a separate pass over memory, as in an operation composed of library calls
template <class T>
class FusibleGenerator : public MatmulGenerator<T> {
 public:
  GeneratorParam<bool> fused{"fused", true};

 protected:
  /// The matrix computed by a step: step(column, row).
  struct Matrix {
    Var column, row;
    Expr columns, rows;
  };

  /// Schedules steps that are passes in the unfused variant and inlined expressions in the fused
  /// one.
  void schedule_steps(std::initializer_list<Func> steps, const Matrix& matrix) const {
    if (fused) return;
    for (Func step : steps) {
      step.bound(matrix.column, 0, matrix.columns).bound(matrix.row, 0, matrix.rows);
      this->schedule_rows(step, matrix.column, matrix.row);
    }
  }

  /// The tile of a product whose epilogue, if it is fused, is this one.
  MatmulTile tile(Epilogue epilogue = Epilogue::kLight, bool packed = false,
                  int bf16_rows = 8) const {
    return MatmulGenerator<T>::tile(fused ? epilogue : Epilogue::kLight, packed, bf16_rows);
  }

  /// Schedules a product and the steps after it; each step reads the one before. Unfused: each is a
  /// pass. Fused: all of them are the product's epilogue.
  void schedule_product(Matmul& product, const std::vector<Func>& steps,
                        const Matrix& matrix) const {
    product.schedule(fused ? steps.back() : steps.front(), matrix.column, matrix.row);
    for (size_t i = 1; i < steps.size(); ++i) schedule_steps({steps[i]}, matrix);
  }
};

}  // namespace mmrec::generators
