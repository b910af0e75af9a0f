#pragma once

#include "generators/common/carry.h"

namespace mmrec::generators {

/// Base of the scans along t of (d, t, r): tiles of columns d, rows r in parallel, t in order.
template <class T>
class ScanGenerator : public CarryGenerator<T> {
 public:
  GeneratorParam<int> column_vectors{"column_vectors", 4};  // vectors of columns that advance together hide each other's latency

 protected:
  using CarryGenerator<T>::d, CarryGenerator<T>::t, CarryGenerator<T>::r;

  /// What an update over time hands on, of every column.
  Carry carry(const std::string& name, const RVar& time, const Expr& start) {
    return CarryGenerator<T>::carry(name, time, {{d, 2 * column_vectors * this->lanes()}}, start);
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
};

}  // namespace mmrec::generators
