// h_t = a_t h_{t-1} + b_t along T and its gradient (runtime/ops/scan.h), step by step: one FMA and 12 bytes an element.
#include "generators/common/scan.h"

namespace mmrec::generators {

class AffineScanSerialForward : public ScanGenerator<AffineScanSerialForward> {
 public:
  Input<Buffer<float, 3>> a{"a"}, b{"b"};
  Input<Buffer<float, 2>> h0{"h0"};
  Output<Buffer<float, 3>> h{"h"};

  void generate() {
    start_at_zero(a, b, h0, h);
    const RDom time(1, h.dim(1).extent() - 1);
    h(d, t, r) = undef<float>();
    h(d, 0, r) = a(d, 0, r) * h0(d, r) + b(d, 0, r);
    h(d, time, r) = a(d, time, r) * h(d, time - 1, r) + b(d, time, r);

    schedule_first(h.update(0));
    schedule_step(h.update(1), time);
  }
};

class AffineScanSerialBackward : public ScanGenerator<AffineScanSerialBackward> {
 public:
  Input<Buffer<float, 3>> dh{"dh"}, a{"a"}, h{"h"};
  Input<Buffer<float, 2>> h0{"h0"};
  Output<Buffer<float, 3>> da{"da"}, db{"db"};
  Output<Buffer<float, 2>> dh0{"dh0"};

  void generate() {
    start_at_zero(dh, a, h, h0, da, db, dh0);
    // db_t = dh_t + a_{t+1} db_{t+1}, da_t = db_t h_{t-1}, dh0 = a_0 db_0
    const Expr T = db.dim(1).extent();
    const RDom time(1, T - 1);
    db(d, t, r) = undef<float>();
    db(d, T - 1, r) = dh(d, T - 1, r);
    db(d, T - 1 - time, r) = dh(d, T - 1 - time, r) + a(d, T - time, r) * db(d, T - time, r);
    da(d, t, r) = db(d, t, r) * select(t == 0, h0(d, r), h(d, max(t - 1, 0), r));
    dh0(d, r) = a(d, 0, r) * db(d, 0, r);

    db.compute_root();
    schedule_first(db.update(0));
    schedule_step(db.update(1), time);
    schedule_elementwise(da);
    dh0.vectorize(d, lanes(), TailStrategy::GuardWithIf);
  }
};

}  // namespace mmrec::generators

HALIDE_REGISTER_GENERATOR(mmrec::generators::AffineScanSerialForward, affine_scan_serial_forward)
HALIDE_REGISTER_GENERATOR(mmrec::generators::AffineScanSerialBackward, affine_scan_serial_backward)
