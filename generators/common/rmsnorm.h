#pragma once

#include "generators/common/kernel_generator.h"
#include "generators/constants/constants.h"

namespace mmrec::generators {

/// rstd(n) = 1 / (rms(x[n,:]) + epsilon): the first stage of every kernel that normalises.
class RmsnormRstd {
 public:
  RmsnormRstd(Func x, Expr columns, Var n)
      : columns_(columns),
        square_sum_(
            "square_sum", RowReduction::Kind::kSum, columns, {n},
            [=](Expr c) { return x(c, n) * x(c, n); }) {}

  Expr operator()(Expr n) const {
    return 1.f / (sqrt(square_sum_.result(n) / cast<float>(columns_)) + kNormEpsilon);
  }

  /// `rstd`: the one-dimensional Func defined with operator().
  void schedule(Func rstd, Var n, int rows_per_task) {
    Var task("task");
    rstd.compute_root().split(n, task, n, rows_per_task, TailStrategy::GuardWithIf).parallel(task);
    square_sum_.schedule_at(rstd, n);
  }

 private:
  Expr columns_;
  RowReduction square_sum_;
};

/// The gradient of y = w x s, s = 1 / (r + epsilon), r = rms(x):
///   dx_i = s w_i dy_i - x_i (s^2 / (D r)) sum_j w_j dy_j x_j,   dw_j = sum_n dy_j x_j s
/// For a row of zeros r = 0, and only the first term remains.
class RmsnormGradient {
 public:
  RmsnormGradient(Func dy, Func x, Func rstd, Func weight, Expr columns, Expr rows, Var d, Var n)
      : factor("norm_factor"),
        dweight("dweight_sum"),
        dy_(dy),
        x_(x),
        rstd_(rstd),
        weight_(weight),
        n_(n),
        dot_(
            "norm_dot", RowReduction::Kind::kSum, columns, {n},
            [=](Expr c) { return weight(c) * dy(c, n) * x(c, n); }) {
    const Expr rms = 1.f / rstd(n) - kNormEpsilon;
    factor(n) =
        select(rms > 0.f, rstd(n) * rstd(n) / (cast<float>(columns) * rms) * dot_.result(n), 0.f);
    const RDom r(0, rows, "norm_row");
    row = r.x;
    dweight(d) = 0.f;
    dweight(d) += dy(d, r) * x(d, r) * rstd(r);
  }

  /// Defines and schedules output(d) += dw.
  template <class Output>
  void add_dweight_to(Output& output, Var d, int lanes) {
    output(d) = undef<float>();
    output(d) += dweight(d);
    output.update().vectorize(d, lanes, TailStrategy::GuardWithIf);
  }

  Expr dx(Expr d, Expr n) const { return rstd_(n) * weight_(d) * dy_(d, n) - x_(d, n) * factor(n); }

  void schedule(int rows_per_task) {
    Var task("task");
    factor.compute_root()
        .split(n_, task, n_, rows_per_task, TailStrategy::GuardWithIf)
        .parallel(task);
    dot_.schedule_at(factor, n_);
  }

  Func factor, dweight;
  RVar row;

 private:
  Func dy_, x_, rstd_, weight_;
  Var n_;
  RowReduction dot_;
};

}  // namespace mmrec::generators
