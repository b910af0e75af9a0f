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
    const RDom time(1, y.dim(1).extent() - 1);
    Func sum("sum");
    sum(d, t, r) = undef<float>();
    sum(d, 0, r) = log(x(d, 0, r));
    sum(d, time, r) = sum(d, time - 1, r) + log(x(d, time, r));
    y(d, t, r) = exp(sum(d, t, r));

    schedule_elementwise(y);
    schedule_within(sum, y);
    schedule_within(sum.update(0));
    schedule_within(sum.update(1), time);
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
    const RDom time(1, T - 1);
    Func sum("sum");
    sum(d, t, r) = undef<float>();
    sum(d, T - 1, r) = dy(d, T - 1, r) * y(d, T - 1, r);
    sum(d, T - 1 - time, r) = sum(d, T - time, r) + dy(d, T - 1 - time, r) * y(d, T - 1 - time, r);
    dx(d, t, r) = sum(d, t, r) / x(d, t, r);

    schedule_elementwise(dx);
    schedule_within(sum, dx);
    schedule_within(sum.update(0));
    schedule_within(sum.update(1), time);
  }
};

}  // namespace mmrec::generators

HALIDE_REGISTER_GENERATOR(mmrec::generators::ScanLogspaceForward, scan_logspace_forward)
HALIDE_REGISTER_GENERATOR(mmrec::generators::ScanLogspaceBackward, scan_logspace_backward)
