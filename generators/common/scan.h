#pragma once

#include "generators/common/carry.h"
#include "generators/common/kernel_generator.h"

namespace mmrec::generators {

/// Base of the scans along t of (d, t, r): tiles of columns d, rows r in parallel, t in order.
template <class T>
class ScanGenerator : public KernelGenerator<T> {
 public:
  GeneratorParam<int> column_vectors{"column_vectors", 4};  // vectors of columns that advance together hide each other's latency

 public:
  void schedule() {
    for (const Carry& carry : carries_) carry.attach(this->get_pipeline());
  }

 protected:
  Var d{"d"}, t{"t"}, r{"r"};

  /// What an update over time hands on, of every column.
  Carry carry(const std::string& name, const RVar& time, const Expr& start) {
    carries_.emplace_back(name, time, std::vector<Carry::Slot>{{d, 2 * column_vectors * this->lanes()}}, start);
    return carries_.back();
  }

  /// An update over time: vectors of columns together where the columns are a multiple of that, else one by one.
  void schedule_step(Stage step, RVar time, const Expr& columns) const {
    // Twice as many make runs of 512 bytes, which the memory is faster with when D is large enough.
    for (const int together : {2 * column_vectors * this->lanes(), column_vectors * this->lanes()})
      step.specialize(columns % together == 0)
          .split(d, tile, d, together, TailStrategy::GuardWithIf)
          .split(d, vector, d, this->lanes(), TailStrategy::GuardWithIf)
          .reorder(d, vector, time, tile, r)
          .vectorize(d)
          .unroll(vector)
          .parallel(r);
    step.split(d, tile, d, this->lanes(), TailStrategy::GuardWithIf).reorder(d, time, tile, r).vectorize(d).parallel(r);
  }

 private:
  Var tile{"tile"}, vector{"vector"};
  std::vector<Carry> carries_;
};

}  // namespace mmrec::generators
