#pragma once

#include "generators/common/carry.h"
#include "generators/common/step_stores.h"

namespace mmrec::generators {

/// Base of the serial scans along t of (d, t, r): tiles of columns d, rows r in parallel, t in
/// order.
template <class T>
class ScanGenerator : public CarryGenerator<T> {
 public:
  // Vectors of columns that advance together; they hide each other's latency.
  Tunable column_vectors{this, "column_vectors", 4, {1, 2, 4, 8}};
  // Number of output elements from which the output will not be found in a cache: use streaming
  // stores.
  Tunable stream_from{this, "stream_from", 4194304, {1048576, 2097152, 4194304, 8388608}};

  void schedule() {
    CarryGenerator<T>::schedule();
    for (const StepStores& stores : step_stores_)
      this->get_pipeline().add_custom_lowering_pass(new StepStores(stores));
  }

 protected:
  using CarryGenerator<T>::d, CarryGenerator<T>::t, CarryGenerator<T>::r;

  /// A carry of an update over time, for every column.
  Carry carry(const std::string& name, const RVar& time, const Expr& start) {
    return CarryGenerator<T>::carry(name, time, {{d, 2 * column_vectors * this->lanes()}}, start);
  }

  enum class Direction { kUpwards, kDownwards };

  /// Schedules an output's update over time. If the number of columns is a multiple of several
  /// vectors, these advance together; otherwise one vector at a time.
  void schedule_step(const Func& output, RVar time, Direction direction) {
    const OutputImageParam size = output.output_buffers()[0];
    const Expr columns = size.dim(0).extent(),
               count = cast<int64_t>(columns) * size.dim(1).extent() * size.dim(2).extent();
    Stage step = Func(output).update();
    // Twice as many vectors give runs of 512 bytes, which are faster in memory if D is large
    // enough.
    for (const int together : {2 * column_vectors * this->lanes(), column_vectors * this->lanes()})
      step.specialize(columns % together == 0)
          .split(d, tile, d, together, TailStrategy::GuardWithIf)
          .split(d, vector, d, this->lanes(), TailStrategy::GuardWithIf)
          .reorder(d, vector, time, tile, r)
          .vectorize(d)
          .unroll(vector)
          .parallel(r)
          .specialize(count >= stream_from)
          .rename(tile, streamed);
    step.split(d, tile, d, this->lanes(), TailStrategy::GuardWithIf)
        .reorder(d, time, tile, r)
        .vectorize(d)
        .parallel(r);
    std::vector<std::string> arrays;
    for (const OutputImageParam& array : output.output_buffers()) arrays.push_back(array.name());
    step_stores_.emplace_back(arrays, streamed.name(), direction == Direction::kDownwards);
  }

 private:
  Var tile{"tile"}, vector{"vector"}, streamed{"streamed"};
  std::vector<StepStores> step_stores_;
};

}  // namespace mmrec::generators
