#pragma once

#include "generators/common/kernel_generator.h"

namespace mmrec::generators {

/// Base of the scans along t of (d, t, r): tiles of columns d, rows r in parallel, t in order.
template <class T>
class ScanGenerator : public KernelGenerator<T> {
 public:
  GeneratorParam<int> column_vectors{"column_vectors", 4};  // vectors of columns that advance together hide each other's latency

 protected:
  Var d{"d"}, t{"t"}, r{"r"};

  /// An update over time, and the one before it that sets the first element.
  void schedule_step(Stage step, RVar time) const {
    step.split(d, tile, d, column_vectors * this->lanes(), TailStrategy::GuardWithIf)
        .split(d, vector, d, this->lanes(), TailStrategy::GuardWithIf)
        .reorder(d, vector, time, tile, r)
        .vectorize(d)
        .unroll(vector)
        .parallel(r);
  }
  void schedule_step(Stage step, RVar time, RVar part) const {
    step.split(d, tile, d, column_vectors * this->lanes(), TailStrategy::GuardWithIf)
        .split(d, vector, d, this->lanes(), TailStrategy::GuardWithIf)
        .reorder(d, vector, part, time, tile, r)
        .vectorize(d)
        .unroll(vector)
        .unroll(part)
        .parallel(r);
  }
  void schedule_first(Stage first) const { first.vectorize(d, this->lanes(), TailStrategy::GuardWithIf).parallel(r); }

  /// An output without a dependence along t, and scans that it needs, one column tile after the other.
  void schedule_elementwise(Func f) const {
    f.split(d, tile, d, column_vectors * this->lanes(), TailStrategy::GuardWithIf)
        .reorder(d, t, tile, r)
        .vectorize(d, this->lanes(), TailStrategy::GuardWithIf)
        .parallel(r);
  }
  void schedule_within(Func scan, Func consumer) const { scan.compute_at(consumer, tile); }
  void schedule_within(Stage first) const { first.vectorize(d, this->lanes(), TailStrategy::GuardWithIf); }
  void schedule_within(Stage step, RVar time) const {
    step.split(d, vector, d, this->lanes(), TailStrategy::GuardWithIf).reorder(d, vector, time).vectorize(d);
  }

 private:
  Var tile{"tile"}, vector{"vector"};
};

}  // namespace mmrec::generators
