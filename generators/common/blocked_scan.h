#pragma once

#include <functional>

#include "generators/common/carry.h"

namespace mmrec::generators {

/// Base of the blocked scans: v(i) = addend(i) + factor(i) v(i-1) over the steps i = 0 .. T-1. The
/// scan of a gradient counts the steps from the end of time.
///
/// A group is a few neighbouring steps. Its steps are composed before the value that enters the
/// group is known: v(i+j) = S_j + P_j v(i-1). The chain of dependent operations therefore has one
/// link per group, and reads and writes stay in order.
///
/// The steps of a row are also cut into blocks, which run in parallel. A first pass composes every
/// block into one factor and one addend; from these follows the value that enters each block. The
/// steps after the last whole group of each block are done at the end.
template <class T>
class BlockedScanGenerator : public CarryGenerator<T> {
 protected:
  // Not parameters of the schedule: the order of the operations depends on them.
  static constexpr int kBlocks = 8;
  static constexpr int kGroup = 8;  // steps

  using Term = std::function<Expr(Expr step)>;

  using CarryGenerator<T>::d, CarryGenerator<T>::t, CarryGenerator<T>::r;

  /// Defines and schedules the updates of `output` (d, t, r) with the given numbers of columns and
  /// steps. Calls define(step, v, kept) for the steps in blocks and for the remaining steps. kept
  /// equals v and also passes it on; the last value of the definition must contain kept exactly
  /// once. `start` is v(-1). Without `addend`, v is a product.
  template <class Define>
  void scan(Func output, const Expr& columns, const Expr& steps, const Term& factor,
            const Term& addend, const Expr& start, const Define& define) {
    const Expr groups = steps / (kBlocks * kGroup), length = groups * kGroup;
    const Func before = entering(columns, groups, factor, addend, start);

    const RDom in_blocks(0, kGroup, 0, groups, 0, kBlocks);
    const RVar j = in_blocks.x, g = in_blocks.y, block = in_blocks.z;
    const Expr first = block * length + g * kGroup;
    const Carry value = this->carry("carry", g, {{d, this->lanes()}, {j, kGroup}}, 0.f);
    const Expr into_group =
        select(g == 0, before(d, block, r), likely(value.previous({d, kGroup - 1})));
    Linear composed = step_at(factor, addend, first);
    Expr v = composed(into_group);
    for (int i = 1; i < kGroup; ++i) {
      composed = step_at(factor, addend, first + i)(composed);
      v = select(j < i, v, composed(into_group));  // j is constant once its loop is unrolled
    }
    define(first + j, v, value.next(v));

    const RDom rest(0, steps - length * kBlocks);
    const Carry last_value = this->carry("last_carry", rest, {{d, this->lanes()}}, 0.f);
    const Expr step = length * kBlocks + rest;
    const Expr last_v = step_at(factor, addend, step)(
        select(rest == 0, before(d, kBlocks, r), likely(last_value.previous())));
    define(step, last_v, last_value.next(last_v));

    Stage blocked = output.update(0), last = output.update(1);
    blocked.allow_race_conditions().unroll(j).parallel(block).parallel(r);
    for_widths(blocked, columns,
               [&](Stage stage, const Var& tile) { stage.reorder(d, j, g, tile, block, r); });
    for_widths(last, columns,
               [&](Stage stage, const Var& tile) { stage.reorder(d, rest, tile, r); });
  }

  /// Applies the schedule with narrower vectors if there are few columns: guarded vectors wait for
  /// each other's stores.
  template <class Schedule>
  void for_widths(Stage stage, const Expr& columns, const Schedule& schedule) const {
    const Var tile("tile");
    for (int width = 1; width < this->lanes(); width *= 2) {
      Stage narrow = stage.specialize(columns == width);
      narrow.split(d, tile, d, width, TailStrategy::GuardWithIf);
      schedule(narrow, tile);
      narrow.vectorize(d);
    }
    stage.split(d, tile, d, this->lanes(), TailStrategy::GuardWithIf);
    schedule(stage, tile);
    stage.vectorize(d);
  }

 private:
  /// The map v -> addend + factor v; without an addend, v -> factor v.
  struct Linear {
    Expr factor, addend;

    Expr operator()(const Expr& v) const {
      return addend.defined() ? addend + factor * v : factor * v;
    }
    /// Returns the composition: first `first`, then this map.
    Linear operator()(const Linear& first) const {
      return {factor * first.factor, addend.defined() ? addend + factor * first.addend : Expr()};
    }
  };

  static Linear step_at(const Term& factor, const Term& addend, const Expr& step) {
    return {factor(step), addend ? addend(step) : Expr()};
  }

  /// Returns entering(d, block, r): the value before a block's first step; for block = kBlocks,
  /// before the remaining steps.
  Func entering(const Expr& columns, const Expr& groups, const Term& factor, const Term& addend,
                const Expr& start) {
    Var block("block");
    RDom g(0, groups, "g"), b(0, kBlocks, "b");
    const Expr first = (block * groups + g) * kGroup;
    Linear composed = step_at(factor, addend, first);
    for (int i = 1; i < kGroup; ++i) composed = step_at(factor, addend, first + i)(composed);

    Func total("total"), entering("entering");
    entering(d, block, r) = undef<float>();
    entering(d, 0, r) = start;
    if (addend) {
      total(d, block, r) = Tuple(1.f, 0.f);
      const Linear after = composed(Linear{total(d, block, r)[0], total(d, block, r)[1]});
      total(d, block, r) = Tuple(after.factor, after.addend);
      entering(d, b + 1, r) = Linear{total(d, b, r)[0], total(d, b, r)[1]}(entering(d, b, r));
    } else {
      total(d, block, r) = 1.f;
      total(d, block, r) = composed(Expr(total(d, block, r)));
      entering(d, b + 1, r) = Linear{total(d, b, r), Expr()}(entering(d, b, r));
    }
    total.compute_root();
    total.update().parallel(block).parallel(r);
    for_widths(total.update(), columns,
               [&](Stage stage, const Var& tile) { stage.reorder(d, g, tile, block, r); });
    entering.compute_root();
    return entering;
  }
};

}  // namespace mmrec::generators
