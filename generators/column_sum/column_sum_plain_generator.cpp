// s[c] += sum_r x[r,c] (runtime/ops/gemm.h): the gradient of a bias. Reads x once.
#include "generators/common/kernel_generator.h"

namespace mmrec::generators {

class ColumnSumPlain : public KernelGenerator<ColumnSumPlain> {
 public:
  Input<Buffer<float, 2>> x{"x"};
  Output<Buffer<float, 1>> s{"s"};

  void generate() {
    start_at_zero(x, s);
    Var c("c");
    const RDom r(0, x.dim(1).extent());
    add_column_sum(s, x, c, r);
  }
};

}  // namespace mmrec::generators

HALIDE_REGISTER_GENERATOR(mmrec::generators::ColumnSumPlain, column_sum_plain_forward)
