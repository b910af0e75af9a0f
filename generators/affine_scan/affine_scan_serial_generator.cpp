// h_t = a_t h_{t-1} + b_t along T and its gradient (runtime/ops/scan.h), step by step: one FMA and
// 12 bytes per element.
#include "generators/common/scan.h"

namespace mmrec::generators {

class AffineScanSerialForward : public ScanGenerator<AffineScanSerialForward> {
 public:
  Input<Buffer<float, 3>> a{"a"}, b{"b"};
  Input<Buffer<float, 2>> h0{"h0"};
  Output<Buffer<float, 3>> h{"h"};

  void generate() {
    start_at_zero(a, b, h0, h);
    const RDom time(0, h.dim(1).extent());
    const Carry state = carry("state", time, 0.f);
    h(d, t, r) = undef<float>();
    h(d, time, r) = state.next(
        a(d, time, r) * select(time == 0, h0(d, r), likely(state.previous())) + b(d, time, r));

    schedule_step(h, time, Direction::kUpwards);
  }
};

class AffineScanSerialBackward : public ScanGenerator<AffineScanSerialBackward> {
 public:
  Input<Buffer<float, 3>> dh{"dh"}, a{"a"}, h{"h"};
  Input<Buffer<float, 2>> h0{"h0"};
  Output<Func> gradient{"gradient", {Float(32), Float(32)}, 3};  // da, db
  Output<Buffer<float, 2>> dh0{"dh0"};

  void generate() {
    start_at_zero(dh, a, h, h0, dh0);
    Func f = gradient;
    start_at_zero(f);
    // db_t = dh_t + a_{t+1} db_{t+1}, da_t = db_t h_{t-1}, dh0 = a_0 db_0
    const Expr T = f.output_buffers()[0].dim(1).extent();
    const RDom time(0, T);
    const Carry state = carry("state", time, 0.f);
    const Expr now = T - 1 - time;
    const Expr db = dh(d, now, r) + a(d, min(now + 1, T - 1), r) * state.previous();
    f(d, t, r) = Tuple(undef<float>(), undef<float>());
    f(d, now, r) =
        Tuple(db * select(now > 0, likely(h(d, max(now - 1, 0), r)), h0(d, r)), state.next(db));
    dh0(d, r) = a(d, 0, r) * f(d, 0, r)[1];

    f.compute_root().bound(d, 0, f.output_buffers()[0].dim(0).extent());
    schedule_step(f, time, Direction::kDownwards);
    dh0.vectorize(d, lanes(), TailStrategy::GuardWithIf);
  }
};

}  // namespace mmrec::generators

HALIDE_REGISTER_GENERATOR(mmrec::generators::AffineScanSerialForward, affine_scan_serial_forward)
HALIDE_REGISTER_GENERATOR(mmrec::generators::AffineScanSerialBackward, affine_scan_serial_backward)
