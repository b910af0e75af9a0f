// AdamW with weight decay and gradient scale in one pass over flat arrays
// (runtime/ops/optimizer.h). 28 bytes of memory traffic per element.
#include "generators/common/kernel_generator.h"

namespace mmrec::generators {

class AdamwPlainStep : public KernelGenerator<AdamwPlainStep> {
 public:
  Tunable elements_per_task{
      this, "elements_per_task", 8192, {1024, 2048, 4096, 8192, 16384, 32768, 65536}};

  Input<Buffer<float, 1>> gradient{"gradient"}, weight_in{"weight_in"}, m_in{"m_in"}, v_in{"v_in"};
  Input<float> learning_rate{"learning_rate"}, beta1{"beta1"}, beta2{"beta2"}, epsilon{"epsilon"},
      decay{"decay"}, gradient_scale{"gradient_scale"};
  Input<float> correction1{"correction1"}, correction2{"correction2"};    // 1 / (1 - beta^step)
  Output<Func> updated{"updated", {Float(32), Float(32), Float(32)}, 1};  // weight, m, v; in place

  void generate() {
    start_at_zero(gradient, weight_in, m_in, v_in);
    Var i("i"), task("task");
    const Expr g = gradient_scale * gradient(i);
    const Expr m = beta1 * m_in(i) + (1.f - beta1) * g;
    const Expr v = beta2 * v_in(i) + (1.f - beta2) * g * g;
    const Expr step = m * correction1 / (sqrt(v * correction2) + epsilon);
    updated(i) = Tuple(weight_in(i) - learning_rate * (decay * weight_in(i) + step), m, v);

    Func f = updated;
    start_at_zero(f);
    f.split(i, task, i, int(elements_per_task), TailStrategy::GuardWithIf)
        .vectorize(i, lanes(), TailStrategy::GuardWithIf)
        .parallel(task);
  }
};

}  // namespace mmrec::generators

HALIDE_REGISTER_GENERATOR(mmrec::generators::AdamwPlainStep, adamw_plain_step)
