// RMSNorm and its gradient (runtime/ops/rmsnorm.h), row by row. Memory-bound.
#include "generators/common/rmsnorm.h"

namespace mmrec::generators {

class RmsnormPlainForward : public KernelGenerator<RmsnormPlainForward> {
 public:
  Input<Buffer<float, 2>> x{"x"};
  Input<Buffer<float, 1>> weight{"weight"};
  Output<Buffer<float, 2>> y{"y"};
  Output<Buffer<float, 1>> rstd{"rstd"};

  void generate() {
    start_at_zero(x, weight, y, rstd);
    Var d("d"), n("n");
    RmsnormRstd norm(x, x.dim(0).extent(), n);
    rstd(n) = norm(n);
    y(d, n) = weight(d) * x(d, n) * rstd(n);

    norm.schedule(rstd, n, rows_per_task);
    schedule_rows(y, d, n);
  }
};

class RmsnormPlainBackward : public KernelGenerator<RmsnormPlainBackward> {
 public:
  Input<Buffer<float, 2>> dy{"dy"}, residual{"residual"}, x{"x"};
  Input<Buffer<float, 1>> rstd{"rstd"}, weight{"weight"};
  Output<Buffer<float, 2>> dx{"dx"};
  Output<Buffer<float, 1>> dweight{"dweight"};

  void generate() {
    start_at_zero(dy, residual, x, rstd, weight, dx, dweight);
    Var d("d"), n("n");
    RmsnormGradient norm(dy, x, rstd, weight, x.dim(0).extent(), x.dim(1).extent(), d, n);
    dx(d, n) = residual(d, n) + norm.dx(d, n);

    norm.schedule(rows_per_task);
    schedule_rows(dx, d, n);
    schedule_column_sum(norm.dweight, d, norm.row);
    norm.add_dweight_to(dweight, d, lanes());
  }
};

}  // namespace mmrec::generators

HALIDE_REGISTER_GENERATOR(mmrec::generators::RmsnormPlainForward, rmsnorm_plain_forward)
HALIDE_REGISTER_GENERATOR(mmrec::generators::RmsnormPlainBackward, rmsnorm_plain_backward)
