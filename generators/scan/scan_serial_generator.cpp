// Cumulative product along T of x [R][T][D] and its gradient (runtime/ops/scan.h), step by step:
// vectors of columns, rows in parallel. One multiplication and 8 bytes per element: memory-bound as
// soon as the data do not fit the cache.
#include "generators/common/scan.h"

namespace mmrec::generators {

class ScanSerialForward : public ScanGenerator<ScanSerialForward> {
 public:
  Input<Buffer<float, 3>> x{"x"};
  Output<Buffer<float, 3>> y{"y"};

  void generate() {
    start_at_zero(x, y);
    const RDom time(0, y.dim(1).extent());
    const Carry product = carry("product", time, 1.f);
    y(d, t, r) = undef<float>();
    y(d, time, r) = product.next(product.previous() * x(d, time, r));

    schedule_step(y, time, Direction::kUpwards);
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
    const RDom time(0, T);
    const Carry s = carry("s", time, 0.f);
    const Expr now = T - 1 - time;
    dx(d, t, r) = undef<float>();
    dx(d, now, r) = s.next(dy(d, now, r) + x(d, min(now + 1, T - 1), r) * s.previous()) *
                    select(now > 0, likely(y(d, max(now - 1, 0), r)), 1.f);

    schedule_step(dx, time, Direction::kDownwards);
  }
};

}  // namespace mmrec::generators

HALIDE_REGISTER_GENERATOR(mmrec::generators::ScanSerialForward, scan_serial_forward)
HALIDE_REGISTER_GENERATOR(mmrec::generators::ScanSerialBackward, scan_serial_backward)
