// y = residual + mask (a + beta b) and its gradient (runtime/ops/dropout.h). The mask is a function
// of the element's index: forward and backward compute it, nothing stores it. Memory-bound.
#include "generators/common/dropout_mask.h"
#include "generators/common/kernel_generator.h"

namespace mmrec::generators {

class DropoutPlainForward : public KernelGenerator<DropoutPlainForward> {
 public:
  Input<Buffer<float, 2>> residual{"residual"}, a{"a"}, b{"b"};
  Input<float> beta{"beta"};
  Input<uint32_t> key_low{"key_low"}, key_high{"key_high"}, threshold{"threshold"};
  Input<float> keep_scale{"keep_scale"};
  Output<Buffer<float, 2>> y{"y"};

  void generate() {
    start_at_zero(residual, a, b, y);
    Var d("d"), n("n");
    const DropoutMask mask{key_low, key_high, threshold, keep_scale};
    const Expr sum = a(d, n) + beta * b(d, n);
    y(d, n) = residual(d, n) + select(threshold == 0, sum, mask(n * y.dim(0).extent() + d) * sum);
    schedule_rows(y, d, n);
    y.specialize(threshold == 0);
  }
};

class DropoutPlainBackward : public KernelGenerator<DropoutPlainBackward> {
 public:
  Input<Buffer<float, 2>> dy{"dy"};
  Input<float> beta{"beta"};
  Input<uint32_t> key_low{"key_low"}, key_high{"key_high"}, threshold{"threshold"};
  Input<float> keep_scale{"keep_scale"};
  Output<Func> gradients{"gradients", {Float(32), Float(32)}, 2};  // da, db

  void generate() {
    Var d("d"), n("n");
    const DropoutMask mask{key_low, key_high, threshold, keep_scale};
    const Expr da = select(threshold == 0, dy(d, n), mask(n * dy.dim(0).extent() + d) * dy(d, n));
    gradients(d, n) = Tuple(da, beta * da);
    Func f = gradients;
    start_at_zero(dy);
    start_at_zero(f);
    schedule_rows(f, d, n);
    f.specialize(threshold == 0);
  }
};

}  // namespace mmrec::generators

HALIDE_REGISTER_GENERATOR(mmrec::generators::DropoutPlainForward, dropout_plain_forward)
HALIDE_REGISTER_GENERATOR(mmrec::generators::DropoutPlainBackward, dropout_plain_backward)
