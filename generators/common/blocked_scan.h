#pragma once

#include <functional>

#include "generators/common/carry.h"
#include "generators/common/kernel_generator.h"

namespace mmrec::generators {

/// Base of the scans that cut the steps into blocks: v(i) = addend(i) + factor(i) v(i-1) over the steps i = 0 .. T-1, which count
/// from the end of time where a gradient is scanned. Every block is first composed into one factor and one addend, these make
/// the value that enters each block, and then the blocks run side by side: some as independent chains within a thread, which
/// hide each other's latency, and groups of those in parallel. The steps after the last whole block come at the end.
template <class T>
class BlockedScanGenerator : public KernelGenerator<T> {
 public:
  GeneratorParam<int> blocks{"blocks", 16};  // a multiple of chains
  GeneratorParam<int> chains{"chains", 8};   // that one thread advances together

  void schedule() {
    for (const Carry& carry : carries_) carry.attach(this->get_pipeline());
  }

 protected:
  using Term = std::function<Expr(Expr step)>;

  Var d{"d"}, t{"t"}, r{"r"};

  /// Call first: D columns and `steps` steps.
  void set_sizes(Expr columns, Expr steps) {
    columns_ = columns;
    length_ = steps / int(blocks);
    steps_ = steps;
  }

  /// Defines and schedules the updates of `output`: define(step, block, whether it is the block's first, carry) is called for
  /// the steps in whole blocks and for the rest, which is one more block.
  template <class Define>
  void for_all_steps(Func output, const Define& define) {
    const RDom whole(0, int(chains), 0, length_, 0, int(blocks) / int(chains));
    const Expr block = whole.z * int(chains) + whole.x;
    carries_.emplace_back("carry", whole.y, std::vector<Carry::Slot>{{d, this->lanes()}, {whole.x, chains}}, 0.f);
    define(block * length_ + whole.y, block, whole.y == 0, carries_.back());
    const RDom rest(0, steps_ - length_ * int(blocks));
    carries_.emplace_back("last_carry", rest, std::vector<Carry::Slot>{{d, this->lanes()}}, 0.f);
    define(length_ * int(blocks) + rest, int(blocks), rest == 0, carries_.back());

    Var tile("tile");
    Stage side_by_side = output.update(0), last = output.update(1);
    side_by_side.allow_race_conditions().unroll(whole.x).parallel(whole.z);
    for_widths(side_by_side, tile, [&](Stage stage) { stage.reorder(d, whole.x, whole.y, tile, whole.z, r); });
    for_widths(last, tile, [&](Stage stage) { stage.reorder(d, rest, tile, r); });
  }

  /// entering(d, block, r): the value before a block's first step, and before the rest's.
  Func entering(const Term& factor, const Term& addend, const Expr& start) {
    Var block("block");
    RDom u(0, length_, "u"), b(0, int(blocks), "b");
    const Expr step = block * length_ + u;
    Func entering("entering");
    // Of the products and of the sums of all steps so far only a block's last stays.
    const auto total = [&](const std::string& name, const Expr& first, const auto& next) {
      Func total(name);
      carries_.emplace_back(name + "_carry", u, std::vector<Carry::Slot>{{d, this->lanes()}, {block, chains}}, first);
      total(d, block, r) = first;
      total(d, block, r) = carries_.back().next(next(carries_.back().previous()));
      Var group("group"), tile("tile");
      total.compute_root();
      total.update().split(block, group, block, chains).unroll(block).parallel(group);
      for_widths(total.update(), tile, [&](Stage stage) { stage.reorder(d, block, u, tile, group, r); });
      return total;
    };
    const Func product = total("product", 1.f, [&](const Expr& previous) { return previous * factor(step); });
    entering(d, block, r) = undef<float>();
    entering(d, 0, r) = start;
    if (addend) {
      const Func sum = total("sum", 0.f, [&](const Expr& previous) { return addend(step) + factor(step) * previous; });
      entering(d, b + 1, r) = sum(d, b, r) + product(d, b, r) * entering(d, b, r);
    } else {
      entering(d, b + 1, r) = product(d, b, r) * entering(d, b, r);
    }
    entering.compute_root();
    return entering;
  }

 private:
  /// The schedule with vectors as narrow as there are columns, when these are few: guarded vectors wait for each other's stores.
  template <class Schedule>
  void for_widths(Stage stage, const Var& tile, const Schedule& schedule) const {
    for (int width = 1; width < this->lanes(); width *= 2) {
      Stage narrow = stage.specialize(columns_ == width);
      narrow.split(d, tile, d, width, TailStrategy::GuardWithIf);
      schedule(narrow);
      narrow.vectorize(d);
    }
    stage.split(d, tile, d, this->lanes(), TailStrategy::GuardWithIf);
    schedule(stage);
    stage.vectorize(d);
  }

  Expr columns_, steps_, length_;
  std::vector<Carry> carries_;
};

}  // namespace mmrec::generators
