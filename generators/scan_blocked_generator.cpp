// The scan of runtime/ops/scan.h, T in blocks (generators/common/blocked_scan.h): twice the multiplications and reads of the
// serial variant, but no chain of T of them. For few columns and long T, where a chain's latency is what takes the time.
#include "generators/common/blocked_scan.h"

namespace mmrec::generators {

class ScanBlockedForward : public BlockedScanGenerator<ScanBlockedForward> {
 public:
  Input<Buffer<float, 3>> x{"x"};
  Output<Buffer<float, 3>> y{"y"};

  void generate() {
    start_at_zero(x, y);
    set_sizes(y.dim(0).extent(), y.dim(1).extent());
    const Func before = entering([&](Expr step) { return x(d, step, r); }, nullptr, 1.f);
    const Steps steps = whole_blocks();
    const RDom last = rest();

    y(d, t, r) = undef<float>();
    const auto step = [&](const Expr& at, const Expr& is_first, const Expr& block) {
      y(d, at, r) = x(d, at, r) * select(is_first, before(d, block, r), likely(y(d, max(at - 1, 0), r)));
    };
    step(steps.step, steps.within() == 0, steps.block);
    step(first_of_rest() + last.y, last.y == 0, int(blocks));

    schedule_blocks(y.update(0), steps);
    schedule_rest(y.update(1), last);
  }
};

class ScanBlockedBackward : public BlockedScanGenerator<ScanBlockedBackward> {
 public:
  Input<Buffer<float, 3>> dy{"dy"}, x{"x"}, y{"y"};
  Output<Buffer<float, 3>> dx{"dx"};

  void generate() {
    start_at_zero(dy, x, y, dx);
    const Expr T = dx.dim(1).extent();
    set_sizes(dx.dim(0).extent(), T);
    // s_t = dy_t + x_{t+1} s_{t+1}, dx_t = y_{t-1} s_t, from the end: the step i is t = T - 1 - i. What is behind the end is 0.
    const auto after = [&](const Expr& t) { return x(d, min(t + 1, T - 1), r); };
    const Func behind = entering([&](Expr step) { return after(T - 1 - step); }, [&](Expr step) { return dy(d, T - 1 - step, r); }, 0.f);
    const Steps steps = whole_blocks(2);
    const RDom last = rest(2);

    // As in the serial variant dx holds s until the next step; a block's last s is left over.
    dx(d, t, r) = undef<float>();
    const auto step = [&](const Expr& finish, const Expr& i, const Expr& is_first, const Expr& block) {
      const Expr now = T - 1 - i;
      const Expr previous = dx(d, min(now + 1, T - 1), r);
      dx(d, select(is_first, now, likely(min(now + finish, T - 1))), r) =
          select(finish == 0, dy(d, now, r) + after(now) * select(is_first, behind(d, block, r), likely(previous)),
                 select(is_first, dx(d, now, r), likely(y(d, now, r) * previous)));
    };
    step(steps.part(), steps.step, steps.within() == 0, steps.block);
    step(last.x, first_of_rest() + last.y, last.y == 0, int(blocks));
    const RDom block(0, select(first_of_rest() > 0, int(blocks), 0));
    const Expr left = T - (block + 1) * length();
    dx(d, left, r) *= select(left == 0, 1.f, y(d, max(left - 1, 0), r));

    schedule_blocks(dx.update(0), steps);
    schedule_rest(dx.update(1), last);
    schedule_columns(dx.update(2));
  }
};

}  // namespace mmrec::generators

HALIDE_REGISTER_GENERATOR(mmrec::generators::ScanBlockedForward, scan_blocked_forward)
HALIDE_REGISTER_GENERATOR(mmrec::generators::ScanBlockedBackward, scan_blocked_backward)
