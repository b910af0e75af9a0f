#pragma once

#include <Halide.h>

#include <functional>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

namespace mmrec::generators {

using namespace Halide;

/// One factor of a matrix product, copied into panels [extent / width][k][width], so that a
/// register tile reads it from one place after the other. A panel holds as few of the tiles as fill
/// whole vectors. What the last panel has past the extent is left uninitialised: it only reaches
/// sums that are never stored.
class Panels {
 public:
  /// tile: the register tile's rows or columns. element(index, k) may be any expression; it is
  /// evaluated only while copying. `batch`: further variables that element may use through
  /// capture; there are panels for each of their values.
  Panels(const std::string& name, const Expr& extent, int tile, int lanes,
         const std::function<Expr(Expr, Expr)>& element, std::vector<Var> batch = {})
      : tile_(tile),
        width_(std::lcm(tile, lanes)),
        lanes_(lanes),
        batch_(std::move(batch)),
        panel_(name) {
    RDom copied(0, width_, name + "_copied");
    copied.where(likely(index_ * width_ + copied < extent));
    copied_ = copied.x;
    const Expr value = element(unsafe_promise_clamped(index_ * width_ + copied, 0, extent - 1), k_);
    panel_(arguments(in_panel_, k_, index_)) = undef(value.type());
    panel_(arguments(copied, k_, index_)) = value;
  }

  Expr operator()(const Expr& in_tile, const Expr& k, const Expr& tile) const {
    const int tiles = width_ / tile_;
    return panel_(arguments(tile % tiles * tile_ + in_tile, k, tile / tiles));
  }

  /// Copies before the product, in parallel. k_outermost: some k into all panels, then the next,
  /// for a factor whose outer dimension in memory is k. (Where only B is packed it gains nothing.)
  /// Where `one_task` holds, one thread copies; where `whole` does, a loop of its own. Neither need
  /// be defined.
  void schedule(bool k_outermost, const Expr& one_task = {}, const Expr& whole = {}) {
    panel_.compute_root();
    const Var outermost = schedule_copy(k_outermost);
    Stage copy = panel_.update();
    if (one_task.defined()) {
      Stage small = copy.specialize(one_task);
      if (whole.defined()) small.specialize(whole);
    }
    copy.parallel(outermost);
    if (whole.defined()) copy.specialize(whole);
  }

  /// Copies what an iteration of the consumer's update reads.
  void schedule_at(Func consumer, RVar iteration, bool k_outermost) {
    panel_.compute_at(consumer, iteration);
    schedule_copy(k_outermost);
  }

 private:
  /// Copies whole vectors. Only the one at the extent's end is masked: clamping its indices would
  /// load it element by element. Returns the outermost loop.
  ///
  /// If k is the outer dimension, some rows are copied into all panels at a time: a panel's part of
  /// a row is less than two cache lines, and rows a multiple of 4 KiB apart share so few places in
  /// the L1 cache that the lines would be gone before the next panel. (tn at 512 x 2048 x 512: 0.9
  /// of the time.)
  ///
  /// Otherwise one vector is copied along all of k, then the next: if k is the inner dimension,
  /// each of its lanes reads another row of the factor, and twice as many rows at a time would be
  /// more than that cache has ways.
  Var schedule_copy(bool k_outermost) {
    constexpr int kRowsAtOnce = 16;
    RVar vector("vector"), lane("lane");
    Var rows("rows");
    panel_.bound(in_panel_, 0, width_);
    Stage copy = panel_.update();
    copy.split(copied_, vector, lane, lanes_).vectorize(lane);
    std::vector<VarOrRVar> order{lane, k_, vector};
    if (k_outermost) {
      copy.split(k_, rows, k_, kRowsAtOnce, TailStrategy::GuardWithIf);
      order = {lane, vector, k_, index_};
    }
    order.insert(order.end(), batch_.begin(), batch_.end());
    const Var outermost = k_outermost ? rows : index_;
    order.push_back(outermost);
    copy.reorder(order);
    return outermost;
  }

  std::vector<Expr> arguments(const Expr& in_panel, const Expr& k, const Expr& index) const {
    std::vector<Expr> result{in_panel, k, index};
    result.insert(result.end(), batch_.begin(), batch_.end());
    return result;
  }

  int tile_, width_, lanes_;
  std::vector<Var> batch_;
  Func panel_;
  Var in_panel_{"in_panel"}, k_{"k_in_panel"}, index_{"panel_index"};
  RVar copied_;
};

}  // namespace mmrec::generators
