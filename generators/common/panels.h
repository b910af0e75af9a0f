#pragma once

#include <Halide.h>

#include <functional>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "generators/common/bf16.h"
#include "generators/common/transpose.h"

namespace mmrec::generators {

using namespace Halide;

/// One factor of a matrix product, copied into panels [extent / width][k][width], so that a
/// register tile reads it from one place after the other. A panel holds as few of the tiles as fill
/// whole vectors. What the last panel has past the extent is left uninitialised: it only reaches
/// sums that are never stored.
class Panels {
 public:
  using Element = std::function<Expr(Expr, Expr)>;

  /// tile: the register tile's rows or columns. element(index, k), for k < depth, may be any
  /// expression; it is evaluated only while copying. `batch`: further variables that element may
  /// use through capture; there are panels for each of their values. `bf16`: the panels hold pairs,
  /// which their k counts; elements that are no pairs are rounded.
  Panels(const std::string& name, const Expr& extent, const Expr& depth, int tile, int lanes,
         const Element& element, std::vector<Var> batch = {}, bool bf16 = false)
      : tile_(tile),
        width_(std::lcm(tile, lanes)),
        lanes_(lanes),
        batch_(std::move(batch)),
        panel_(name) {
    const bool to_pair = bf16 && !is_bf16_pair(element);
    const auto factor = [&](const Expr& index, const Expr& k) {
      if (!to_pair) return element(index, k);
      return bf16_pair_of(depth, k, [&](const Expr& at) { return element(index, at); });
    };
    // with an even depth, which has loops of its own, nothing is compared
    if (to_pair) are_whole_ = bf16_pairs_are_whole(depth);
    if (bf16 && second_is_inner(element)) {
      const Expr index = index_ * width_ + in_panel_, terms = (depth + 1) / 2;
      const auto repeated = [&](const Expr& index, const Expr& k) {
        return factor(min(index, extent - 1), k);
      };
      transposed_.emplace(name, repeated, batch_);
      in_blocks_ = terms >= Transposed::kSide;
      panel_(arguments(in_panel_, k_, index_)) =
          select(in_blocks_, (*transposed_)(index, k_), repeated(index, clamp(k_, 0, terms - 1)));
      return;
    }
    RDom copied(0, width_, name + "_copied");
    copied.where(likely(index_ * width_ + copied < extent));
    copied_ = copied.x;
    panel_(arguments(in_panel_, k_, index_)) = undef(bf16 ? UInt(32) : Float(32));
    panel_(arguments(copied, k_, index_)) =
        factor(unsafe_promise_clamped(index_ * width_ + copied, 0, extent - 1), k_);
  }

  Expr operator()(const Expr& in_tile, const Expr& k, const Expr& tile) const {
    const int tiles = width_ / tile_;
    return panel_(arguments(tile % tiles * tile_ + in_tile, k, tile / tiles));
  }

  /// Copies before the product, in parallel. k_outermost: some k into all panels, then the next,
  /// for a factor whose outer dimension in memory is k. (Where only B is packed it gains nothing.)
  void schedule(bool k_outermost) {
    panel_.compute_root();
    const Var outermost = schedule_copy(k_outermost);
    if (transposed_)
      panel_.parallel(outermost);
    else
      panel_.update().parallel(outermost);
  }

  /// Copies what an iteration of the consumer's update reads.
  template <class Loop>
  void schedule_at(Func consumer, const Loop& iteration, bool k_outermost) {
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
    if (transposed_) return schedule_blocks();
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
    if (are_whole_.defined()) copy.specialize(are_whole_);
    return outermost;
  }

  /// Copies blocks that are transposed in registers; the last one overlaps that before. Returns the
  /// outermost loop.
  Var schedule_blocks() {
    const Var vector("vector"), block("block");
    panel_.bound(in_panel_, 0, width_)
        .split(in_panel_, vector, in_panel_, lanes_)
        .split(k_, block, k_, Transposed::kSide, TailStrategy::ShiftInwards)
        .vectorize(in_panel_);
    std::vector<VarOrRVar> order{in_panel_, k_, block, vector};
    order.insert(order.end(), batch_.begin(), batch_.end());
    order.push_back(index_);
    panel_.reorder(order).specialize(in_blocks_).unroll(k_);
    transposed_->schedule_at(panel_, block, are_whole_);
    return index_;
  }

  /// Whether the elements along the second index lie beside each other in memory.
  static bool second_is_inner(const Element& element) {
    struct Search : Internal::IRGraphVisitor {
      using IRGraphVisitor::visit;
      void visit(const Internal::Call* call) override {
        IRGraphVisitor::visit(call);
        if (call->call_type != Internal::Call::Halide && call->call_type != Internal::Call::Image)
          return;
        for (size_t i = 0; i < call->args.size(); ++i)
          if (Internal::expr_uses_var(call->args[i], second.name())) (i ? outer : inner) = true;
      }
      Var first{"first"}, second{"second"};
      bool inner = false, outer = false;
    } search;
    element(search.first, search.second).accept(&search);
    return search.inner && !search.outer;
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
  Expr are_whole_;                        // of a factor that becomes pairs: all have both elements
  std::optional<Transposed> transposed_;  // if k is the factor's inner dimension
  Expr in_blocks_;                        // when blocks serve
};

}  // namespace mmrec::generators
