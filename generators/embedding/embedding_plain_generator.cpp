// Gathers rows of a table; backward scatter-adds their gradients (runtime/ops/embedding.h).
// Memory-bound.
#include "generators/common/kernel_generator.h"

namespace mmrec::generators {

class EmbeddingPlainForward : public KernelGenerator<EmbeddingPlainForward> {
 public:
  Input<Buffer<float, 2>> table{"table"};
  Input<Buffer<int32_t, 1>> ids{"ids"};
  Output<Buffer<float, 2>> x{"x"};

  void generate() {
    start_at_zero(table, ids, x);
    Var d("d"), n("n");
    x(d, n) = table(d, clamp(ids(n), 0, table.dim(1).extent() - 1));
    schedule_rows(x, d, n);
  }
};

class EmbeddingPlainBackward : public KernelGenerator<EmbeddingPlainBackward> {
 public:
  Input<Buffer<float, 2>> dx{"dx"};
  Input<Buffer<int32_t, 1>> ids{"ids"};
  Output<Buffer<float, 2>> dtable{"dtable"};

  void generate() {
    start_at_zero(dx, ids, dtable);
    Var d("d"), v("v"), task("task"), vector("vector");
    const RDom n(0, ids.dim(0).extent());
    dtable(d, v) = undef<float>();  // adds to the existing values
    dtable(d, clamp(ids(n), 0, dtable.dim(1).extent() - 1)) += dx(d, n);

    // A task owns columns: an id may occur in several rows, which must be added in order.
    dtable.update()
        .split(d, task, d, int(columns_per_task), TailStrategy::GuardWithIf)
        .split(d, vector, d, lanes(), TailStrategy::GuardWithIf)
        .reorder(d, vector, n, task)
        .vectorize(d)
        .parallel(task);
  }
};

}  // namespace mmrec::generators

HALIDE_REGISTER_GENERATOR(mmrec::generators::EmbeddingPlainForward, embedding_plain_forward)
HALIDE_REGISTER_GENERATOR(mmrec::generators::EmbeddingPlainBackward, embedding_plain_backward)
