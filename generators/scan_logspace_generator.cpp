// The scan of runtime/ops/scan.h in log space: y = exp(running sum of log x), as MM-Rec's first implementation computed it.
// It is here as the documented baseline, with the same care as the serial variant: a logarithm and an exponential an
// element, both in vectors, the same tiles and threads. It wins nowhere.
#include "generators/common/scan.h"

namespace mmrec::generators {

class ScanLogspaceForward : public ScanGenerator<ScanLogspaceForward> {
 public:
  Input<Buffer<float, 3>> x{"x"};
  Output<Buffer<float, 3>> y{"y"};

  void generate() {
    start_at_zero(x, y);
    const RDom time(0, y.dim(1).extent());
    const Carry sum = carry("sum", time, 0.f);
    y(d, t, r) = undef<float>();
    y(d, time, r) = exp(sum.next(sum.previous() + log(x(d, time, r))));

    schedule_step(y.update(), time, y.dim(0).extent());
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

    schedule_step(dx.update(), time, dx.dim(0).extent());
  }
};

}  // namespace mmrec::generators

HALIDE_REGISTER_GENERATOR(mmrec::generators::ScanLogspaceForward, scan_logspace_forward)
HALIDE_REGISTER_GENERATOR(mmrec::generators::ScanLogspaceBackward, scan_logspace_backward)
