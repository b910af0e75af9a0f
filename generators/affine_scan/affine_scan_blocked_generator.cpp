// The affine scan of runtime/ops/scan.h. T is processed in blocks and groups
// (generators/common/blocked_scan.h).
#include "generators/common/blocked_scan.h"

namespace mmrec::generators {

class AffineScanBlockedForward : public BlockedScanGenerator<AffineScanBlockedForward> {
 public:
  Input<Buffer<float, 3>> a{"a"}, b{"b"};
  Input<Buffer<float, 2>> h0{"h0"};
  Output<Buffer<float, 3>> h{"h"};

  void generate() {
    start_at_zero(a, b, h0, h);
    h(d, t, r) = undef<float>();
    scan(
        h, h.dim(0).extent(), h.dim(1).extent(), [&](Expr i) { return a(d, i, r); },
        [&](Expr i) { return b(d, i, r); }, h0(d, r),
        [&](const Expr& i, const Expr&, const Expr& kept) { h(d, i, r) = kept; });
  }
};

class AffineScanBlockedBackward : public BlockedScanGenerator<AffineScanBlockedBackward> {
 public:
  Input<Buffer<float, 3>> dh{"dh"}, a{"a"}, h{"h"};
  Input<Buffer<float, 2>> h0{"h0"};
  Output<Func> gradients{"gradients", {Float(32), Float(32)}, 3};  // da, db
  Output<Buffer<float, 2>> dh0{"dh0"};

  void generate() {
    start_at_zero(dh, a, h, h0, dh0);
    // db_t = dh_t + a_{t+1} db_{t+1}, da_t = db_t h_{t-1}, scanned from the end: step i is t = T -
    // 1 - i. Terms after the end are 0. One loop writes both outputs, so db is never read again, in
    // particular not by another core.
    Func f = gradients;
    start_at_zero(f);
    const OutputImageParam da = f.output_buffers()[0];
    const Expr columns = da.dim(0).extent(), T = da.dim(1).extent();
    f(d, t, r) = Tuple(undef<float>(), undef<float>());
    scan(
        f, columns, T, [&](Expr i) { return a(d, min(likely(T - i), T - 1), r); },
        [&](Expr i) { return dh(d, T - 1 - i, r); }, 0.f,
        [&](const Expr& i, const Expr& db, const Expr& kept) {
          const Expr now = T - 1 - i;
          f(d, now, r) =
              Tuple(db * select(now > 0, likely(h(d, max(now - 1, 0), r)), h0(d, r)), kept);
        });
    f.bound(d, 0, columns);  // dh0 reads no other columns
    dh0(d, r) = a(d, 0, r) * f(d, 0, r)[1];
    dh0.vectorize(d, lanes(), TailStrategy::GuardWithIf);
  }
};

}  // namespace mmrec::generators

HALIDE_REGISTER_GENERATOR(mmrec::generators::AffineScanBlockedForward, affine_scan_blocked_forward)
HALIDE_REGISTER_GENERATOR(mmrec::generators::AffineScanBlockedBackward,
                          affine_scan_blocked_backward)
