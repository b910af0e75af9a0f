// Cumulative product along T of x [R][T][D] and its gradient (runtime/ops/scan.h), step by step: vectors of columns, rows in
// parallel. One multiplication and 8 bytes an element: it runs at the speed of memory as soon as the data leave the cache.
#include "generators/common/scan.h"

namespace mmrec::generators {

class ScanSerialForward : public ScanGenerator<ScanSerialForward> {
 public:
  Input<Buffer<float, 3>> x{"x"};
  Output<Buffer<float, 3>> y{"y"};

  void generate() {
    start_at_zero(x, y);
    const RDom time(1, y.dim(1).extent() - 1);
    y(d, t, r) = undef<float>();
    y(d, 0, r) = x(d, 0, r);
    y(d, time, r) = y(d, time - 1, r) * x(d, time, r);

    schedule_first(y.update(0));
    schedule_step(y.update(1), time);
  }
};

class ScanSerialBackward : public ScanGenerator<ScanSerialBackward> {
 public:
  Input<Buffer<float, 3>> dy{"dy"}, x{"x"}, y{"y"};
  Output<Buffer<float, 3>> dx{"dx"};

  void generate() {
    start_at_zero(dy, x, y, dx);
    // s_t = dy_t + x_{t+1} s_{t+1}, dx_t = y_{t-1} s_t
    const Expr T = dx.dim(1).extent();
    const RDom time(1, T - 1);
    Func s("s");
    s(d, t, r) = undef<float>();
    s(d, T - 1, r) = dy(d, T - 1, r);
    s(d, T - 1 - time, r) = dy(d, T - 1 - time, r) + x(d, T - time, r) * s(d, T - time, r);
    dx(d, t, r) = s(d, t, r) * select(t == 0, 1.f, y(d, max(t - 1, 0), r));

    schedule_elementwise(dx);
    schedule_within(s, dx);
    schedule_within(s.update(0));
    schedule_within(s.update(1), time);
  }
};

}  // namespace mmrec::generators

HALIDE_REGISTER_GENERATOR(mmrec::generators::ScanSerialForward, scan_serial_forward)
HALIDE_REGISTER_GENERATOR(mmrec::generators::ScanSerialBackward, scan_serial_backward)
