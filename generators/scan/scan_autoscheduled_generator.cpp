// The scan of runtime/ops/scan.h, scheduled by one of Halide's autoschedulers for the sizes of the
// documented benchmark. For comparison with the hand-scheduled variants.
#include "generators/common/kernel_generator.h"

namespace mmrec::generators {

template <class T>
class AutoscheduledScanGenerator : public Generator<T> {
 public:
  void schedule() {
    load_plugin(MMREC_HALIDE_LIBRARIES "/libautoschedule_mullapudi2016.so");
    this->get_pipeline().apply_autoscheduler(this->get_target(),
                                             {"Mullapudi2016", {{"parallelism", "2"}}});
    // The autoscheduler gives pure definitions ShiftInwards tails, which need at least a vector of
    // columns.
    for (const Func& output : this->get_pipeline().outputs())
      for (Internal::Split& split : output.function().definition().schedule().splits())
        split.tail = TailStrategy::GuardWithIf;
  }

 protected:
  Pipeline build_pipeline() override {
    Pipeline pipeline = Generator<T>::build_pipeline();
    contract(pipeline, this->get_target());
    return pipeline;
  }

  Var d{"d"}, t{"t"}, r{"r"};

  template <class... Arrays>
  static void of_documented_size(Arrays&... arrays) {
    (arrays.set_estimates({{0, 64}, {0, 128}, {0, 8}}), ...);
  }
};

class ScanAutoscheduledForward : public AutoscheduledScanGenerator<ScanAutoscheduledForward> {
 public:
  Input<Buffer<float, 3>> x{"x"};
  Output<Buffer<float, 3>> y{"y"};

  void generate() {
    start_at_zero(x, y);
    const RDom time(1, y.dim(1).extent() - 1);
    y(d, t, r) = undef<float>();
    y(d, 0, r) = x(d, 0, r);
    y(d, time, r) = y(d, time - 1, r) * x(d, time, r);
    of_documented_size(x, y);
  }
};

class ScanAutoscheduledBackward : public AutoscheduledScanGenerator<ScanAutoscheduledBackward> {
 public:
  Input<Buffer<float, 3>> dy{"dy"}, x{"x"}, y{"y"};
  Output<Buffer<float, 3>> dx{"dx"};

  void generate() {
    start_at_zero(dy, x, y, dx);
    // s_t = dy_t + x_{t+1} s_{t+1}, dx_t = y_{t-1} s_t. dx itself holds s_t until the following
    // step has used it: scratch arrays of the autoscheduler are computed past their ends at small
    // sizes.
    const Expr T = dx.dim(1).extent();
    const RDom step(0, 2, 0, T);
    const Expr now = T - 1 - step.y, after = min(now + 1, T - 1);
    dx(d, t, r) = undef<float>();
    const Expr s_after = dx(d, after, r);
    dx(d, min(now + step.x, T - 1), r) = select(
        step.x == 0, dy(d, now, r) + select(step.y > 0, likely(x(d, after, r) * s_after), 0.f),
        select(step.y > 0, likely(s_after * y(d, now, r)), s_after));
    of_documented_size(dy, x, y, dx);
  }
};

}  // namespace mmrec::generators

HALIDE_REGISTER_GENERATOR(mmrec::generators::ScanAutoscheduledForward, scan_autoscheduled_forward)
HALIDE_REGISTER_GENERATOR(mmrec::generators::ScanAutoscheduledBackward, scan_autoscheduled_backward)
