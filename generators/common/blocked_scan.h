#pragma once

#include <functional>

#include "generators/common/kernel_generator.h"

namespace mmrec::generators {

/// Base of the scans that cut the steps into blocks: v(i) = addend(i) + factor(i) v(i-1) over the steps i = 0 .. T-1, which count
/// from the end of time where a gradient is scanned. Every block is first composed into one factor and one addend, these make
/// the value that enters each block, and then the blocks run side by side: some as independent chains within a thread, which
/// hide each other's latency, and groups of those in parallel. The steps after the last whole block come at the end.
template <class T>
class BlockedScanGenerator : public KernelGenerator<T> {
 public:
  GeneratorParam<int> blocks{"blocks", 64};  // a multiple of chains; more than threads, so that those share the work evenly
  GeneratorParam<int> chains{"chains", 16};  // as many as there are registers to hold their values

 protected:
  using Term = std::function<Expr(Expr step)>;

  Var d{"d"}, t{"t"}, r{"r"};

  /// Call first: D columns and `steps` steps.
  void set_sizes(Expr columns, Expr steps) {
    columns_ = columns;
    length_ = steps / int(blocks);
    steps_ = steps;
  }

  /// The steps of all whole blocks. A step of `parts` parts does one after the other.
  struct Steps {
    Steps(int parts, int chains, int groups, Expr length) : domain(0, parts, 0, chains, 0, length, 0, groups) {
      block = domain.w * chains + domain.y;
      step = block * length + domain.z;
    }
    RDom domain;
    Expr block, step;
    const RVar& part() const { return domain.x; }
    const RVar& chain() const { return domain.y; }
    const RVar& within() const { return domain.z; }
    const RVar& group() const { return domain.w; }
  };
  Steps whole_blocks(int parts = 1) const { return Steps(parts, chains, int(blocks) / int(chains), length_); }
  /// Those after them, (part, step), and how many have gone before.
  RDom rest(int parts = 1) const { return RDom(0, parts, 0, steps_ - first_of_rest()); }
  Expr length() const { return length_; }
  Expr first_of_rest() const { return length_ * int(blocks); }

  /// entering(d, block, r): the value before a block's first step, and before the rest's.
  Func entering(const Term& factor, const Term& addend, const Expr& start) {
    Var block("block");
    RDom u(0, length_, "u"), b(0, int(blocks), "b");
    const Expr step = block * length_ + u;
    Func entering("entering"), total("total");
    entering(d, block, r) = undef<float>();
    entering(d, 0, r) = start;
    if (addend) {
      total(d, block, r) = Tuple(1.f, 0.f);
      total(d, block, r) = Tuple(total(d, block, r)[0] * factor(step), addend(step) + factor(step) * total(d, block, r)[1]);
      entering(d, b + 1, r) = total(d, b, r)[1] + total(d, b, r)[0] * entering(d, b, r);
    } else {
      total(d, block, r) = 1.f;
      total(d, block, r) *= factor(step);
      entering(d, b + 1, r) = total(d, b, r) * entering(d, b, r);
    }
    // Half the chains: a composition is two values.
    const int together = addend ? int(chains) / 2 : int(chains);
    Var group("group"), tile("tile");
    total.compute_root();
    total.update().split(block, group, block, together).reorder(block, u, group).unroll(block).parallel(group);
    for_widths(total.update(), tile, [&](Stage stage) { stage.reorder(d, block, u, tile, group, r); });
    entering.compute_root();
    return entering;
  }

  void schedule_blocks(Stage stage, const Steps& steps) const {
    Var tile("tile");
    stage.allow_race_conditions().unroll(steps.part()).unroll(steps.chain()).parallel(steps.group());
    for_widths(stage, tile, [&](Stage width) { width.reorder(d, steps.part(), steps.chain(), steps.within(), tile, steps.group(), r); });
  }
  void schedule_rest(Stage stage, const RDom& rest) const {
    Var tile("tile");
    stage.unroll(rest.x);
    for_widths(stage, tile, [&](Stage width) { width.reorder(d, rest.x, rest.y, tile, r); });
  }
  void schedule_columns(Stage stage) const { stage.vectorize(d, this->lanes(), TailStrategy::GuardWithIf); }

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
};

}  // namespace mmrec::generators
