// A step of the weights' moving average (runtime/ops/optimizer.h): 12 bytes of memory traffic per
// element.
#include "generators/common/kernel_generator.h"

namespace mmrec::generators {

class MovingAveragePlainStep : public KernelGenerator<MovingAveragePlainStep> {
 public:
  Tunable elements_per_task{
      this, "elements_per_task", 16384, {1024, 2048, 4096, 8192, 16384, 32768, 65536}};

  Input<Buffer<float, 1>> weight{"weight"}, average_in{"average_in"};
  Input<float> share{"share"};
  Output<Buffer<float, 1>> average{"average"};  // in place

  void generate() {
    start_at_zero(weight, average_in, average);
    Var i("i"), task("task");
    average(i) = average_in(i) + share * (weight(i) - average_in(i));
    average.split(i, task, i, int(elements_per_task), TailStrategy::GuardWithIf)
        .vectorize(i, lanes(), TailStrategy::GuardWithIf)
        .parallel(task);
  }
};

}  // namespace mmrec::generators

HALIDE_REGISTER_GENERATOR(mmrec::generators::MovingAveragePlainStep, moving_average_plain_step)
