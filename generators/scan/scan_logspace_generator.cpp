// The scan of runtime/ops/scan.h in log space, y = exp(running sum of log x), as in MM-Rec's first
// implementation. Kept as the documented baseline and written with the same care as the serial
// variant: one logarithm and one exponential per element, both vectorised, the same tiles and
// threads. It is never the fastest.
#include "generators/common/scan.h"

namespace mmrec::generators {

class ScanLogspaceForward : public ScanGenerator<ScanLogspaceForward> {
 public:
  Input<Buffer<float, 3>> x{"x"};
  Output<Buffer<float, 3>> y{"y"};

  void generate() {
    start_at_zero(x, y);
    // Two loops, logarithms first, then exponentials: a single loop needs more constants than there
    // are registers, and is slower.
    const RDom time(1, y.dim(1).extent() - 1);
    Func sum("sum");
    sum(d, t, r) = undef<float>();
    sum(d, 0, r) = log(x(d, 0, r));
    sum(d, time, r) = sum(d, time - 1, r) + log(x(d, time, r));
    y(d, t, r) = exp(sum(d, t, r));

    Var tile("tile"), vector("vector");
    y.split(d, tile, d, column_vectors * lanes(), TailStrategy::GuardWithIf)
        .reorder(d, t, tile, r)
        .vectorize(d, lanes(), TailStrategy::GuardWithIf)
        .parallel(r);
    sum.compute_at(y, tile);
    sum.update(0).vectorize(d, lanes(), TailStrategy::GuardWithIf);
    sum.update(1)
        .split(d, vector, d, lanes(), TailStrategy::GuardWithIf)
        .reorder(d, vector, time)
        .vectorize(d);
  }
};

class ScanLogspaceBackward : public ScanGenerator<ScanLogspaceBackward> {
 public:
  Input<Buffer<float, 3>> dy{"dy"}, x{"x"}, y{"y"};
  Output<Buffer<float, 3>> dx{"dx"};

  void generate() {
    start_at_zero(dy, x, y, dx);
    // dx_t = (sum_{i >= t} dy_i y_i) / x_t
    const Expr T = dx.dim(1).extent();
    const RDom time(0, T);
    const Carry sum = carry("sum", time, 0.f);
    const Expr now = T - 1 - time;
    dx(d, t, r) = undef<float>();
    dx(d, now, r) = sum.next(sum.previous() + dy(d, now, r) * y(d, now, r)) / x(d, now, r);

    schedule_step(dx, time, Direction::kDownwards);
  }
};

}  // namespace mmrec::generators

HALIDE_REGISTER_GENERATOR(mmrec::generators::ScanLogspaceForward, scan_logspace_forward)
HALIDE_REGISTER_GENERATOR(mmrec::generators::ScanLogspaceBackward, scan_logspace_backward)
