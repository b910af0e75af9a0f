// Sums of squares over chunks of a flat array (runtime/ops/optimizer.h). The caller adds the chunks
// in double precision. The order of summation depends on the chunk size, not on the threads. Reads
// x once.
#include "generators/common/kernel_generator.h"

namespace mmrec::generators {

class SumOfSquaresPlain : public KernelGenerator<SumOfSquaresPlain> {
 public:
  Tunable chunks_per_task{this, "chunks_per_task", 1, {1, 2, 4, 8, 16}};

  Input<Buffer<float, 2>> x{"x"};  // [chunks][chunk]
  Output<Buffer<float, 1>> sums{"sums"};

  void generate() {
    start_at_zero(x, sums);
    Var chunk("chunk");
    RowReduction square_sum(
        "square_sum", RowReduction::Kind::kSum, x.dim(0).extent(), {chunk},
        [&](Expr i) { return x(i, chunk) * x(i, chunk); });
    sums(chunk) = square_sum.result(chunk);

    sums.parallel(chunk, int(chunks_per_task), TailStrategy::GuardWithIf);
    square_sum.schedule_at(sums, chunk);
  }
};

}  // namespace mmrec::generators

HALIDE_REGISTER_GENERATOR(mmrec::generators::SumOfSquaresPlain, sum_of_squares_plain_forward)
