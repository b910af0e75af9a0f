#pragma once

#include <initializer_list>

#include "generators/common/matmul.h"

namespace mmrec::generators {

/// Base of the generators that make two variants of an operation out of one definition. What happens before and after the
/// products is written as steps, a Func each:
///   fused      steps are expressions, in the packing or the epilogue of a product or in the loop of another step;
///   unfused    every step is a pass over memory of its own, as where an operation is put together from a library's calls.
template <class T>
class FusibleGenerator : public MatmulGenerator<T> {
 public:
  GeneratorParam<bool> fused{"fused", true};

 protected:
  /// The matrix that a step makes: step(column, row).
  struct Matrix {
    Var column, row;
    Expr columns, rows;
  };

  /// Steps that are passes in the unfused variant, and expressions in their consumers in the fused one.
  void schedule_steps(std::initializer_list<Func> steps, const Matrix& matrix) const {
    if (fused) return;
    for (Func step : steps) {
      step.bound(matrix.column, 0, matrix.columns).bound(matrix.row, 0, matrix.rows);
      this->schedule_rows(step, matrix.column, matrix.row);
    }
  }

  /// The sums of a product and the steps after it, each made from the one before: passes, or all of them its `epilogue`.
  void schedule_product(Matmul& product, const std::vector<Func>& steps, const Matrix& matrix,
                        Matmul::Epilogue epilogue = Matmul::Epilogue::kLight) const {
    if (fused)
      product.schedule(steps.back(), matrix.column, matrix.row, epilogue);
    else
      product.schedule(steps.front(), matrix.column, matrix.row);
    for (size_t i = 1; i < steps.size(); ++i) schedule_steps({steps[i]}, matrix);
  }
};

}  // namespace mmrec::generators
