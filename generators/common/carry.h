#pragma once

#include <Halide.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "generators/common/kernel_generator.h"

namespace mmrec::generators {

using namespace Halide;

/// A value that a scan passes from one step of its time loop to the next in registers. Without it,
/// a Halide update must read the value from the array it updates, where the next step waits for the
/// store, and a value that is not an output needs an extra array.
///
///   Carry product("product", time, {{d, tile_width}}, 1.f);
///   y(d, time, r) = product.next(product.previous() * x(d, time, r));
///
/// Every run of the loop over `time`, with its inner loops, begins with `start`. There is one value
/// for each combination of the slots. A slot is an expression that grows by less than its extent in
/// the body of the time loop; that body must be unrolled. The first slot may be a vector. Only one
/// definition, with one call of next(), may use a carry. CarryGenerator attaches it to the
/// pipeline.
class Carry {
 public:
  struct Slot {
    Expr index;
    int extent;
  };

  Carry(std::string name, RVar time, std::vector<Slot> slots, Expr start)
      : name_(std::move(name)),
        time_(std::move(time)),
        slots_(std::move(slots)),
        start_(std::move(start)) {}

  /// The value left by the previous step.
  Expr previous() const { return call("previous", indices(), {}); }
  /// The value that the previous step left in the slots with these indices.
  Expr previous(const std::vector<Expr>& slots) const { return call("previous", slots, {}); }
  /// Returns `value` and leaves it for the next step.
  Expr next(const Expr& value) const { return call("next", indices(), {value}); }

  void attach(Pipeline pipeline) const;

 private:
  friend class CarryLowering;

  std::vector<Expr> indices() const {
    std::vector<Expr> indices;
    for (const Slot& slot : slots_) indices.push_back(slot.index);
    return indices;
  }

  Expr call(const std::string& what, const std::vector<Expr>& slots,
            const std::vector<Expr>& value) const {
    std::vector<Expr> arguments{time_};  // time makes the calls of two steps different expressions
    arguments.insert(arguments.end(), slots.begin(), slots.end());
    arguments.insert(arguments.end(), value.begin(), value.end());
    return Internal::Call::make(Float(32), name_ + "." + what, arguments,
                                Internal::Call::PureExtern);
  }

  std::string name_;
  RVar time_;
  std::vector<Slot> slots_;
  Expr start_;
};

/// Initialises the carry just outside each time loop, in an array on the stack, and replaces the
/// calls by loads and stores. Their indices are constant, so LLVM keeps the array in registers.
class CarryLowering : public Internal::IRMutator {
 public:
  explicit CarryLowering(Carry carry) : carry_(std::move(carry)) {
    for (const Carry::Slot& slot : carry_.slots_) count_ *= slot.extent;
  }

 private:
  using IRMutator::visit;
  using Stmt = Internal::Stmt;

  /// Loops are named <func>.<stage>.<variable>, with a suffix after a split.
  bool is_time(const std::string& loop) const {
    return (loop + ".").find("." + carry_.time_.name() + ".") != std::string::npos;
  }

  /// Searches a statement for calls. loops_around: some calls are in loops outside of the time
  /// loop.
  struct CallSearch : Internal::IRVisitor {
    explicit CallSearch(const CarryLowering& lowering) : lowering(lowering) {}
    using IRVisitor::visit;
    void visit(const Internal::For* loop) override {
      const bool was_in_time = in_time, was_found = found;
      in_time = in_time || lowering.is_time(loop->name);
      found = false;
      IRVisitor::visit(loop);
      loops_around = loops_around || (found && !in_time);
      found = found || was_found;
      in_time = was_in_time;
    }
    void visit(const Internal::Call* call) override {
      found = found || call->name.rfind(lowering.carry_.name_ + ".", 0) == 0;
      IRVisitor::visit(call);
    }
    const CarryLowering& lowering;
    bool in_time = false, found = false, loops_around = false;
  };

  Stmt visit(const Internal::Block* block) override { return around(block); }
  Stmt visit(const Internal::For* loop) override { return around(loop); }
  Stmt visit(const Internal::IfThenElse* branch) override { return around(branch); }

  /// Initialises the carry before the largest statements that contain calls and no loop outside of
  /// the time loop.
  template <class Node>
  Stmt around(const Node* node) {
    if (within_) return IRMutator::visit(node);
    CallSearch search(*this);
    Stmt(node).accept(&search);
    if (!search.found || search.loops_around) return IRMutator::visit(node);
    within_ = true;
    first_.clear();
    const Stmt body = IRMutator::visit(node);
    within_ = false;
    const Stmt start =
        store(Internal::Broadcast::make(carry_.start_, count_), Internal::Ramp::make(0, 1, count_));
    return Internal::Allocate::make(carry_.name_, Float(32), MemoryType::Stack, {count_},
                                    Internal::const_true(), Internal::Block::make(start, body));
  }

  Stmt visit(const Internal::LetStmt* let) override {
    lets_[let->name] = Internal::substitute(lets_, let->value);
    return IRMutator::visit(let);
  }

  Stmt visit(const Internal::Store* node) override {
    next_ = Expr();
    const Expr value = mutate(Internal::substitute_in_all_lets(node->value));
    const Stmt stored = Internal::Store::make(node->name, value, node->index, node->param,
                                              node->predicate, node->alignment);
    if (!next_.defined()) return stored;
    return Internal::LetStmt::make(
        next_name(), next_,
        Internal::Block::make(
            stored, store(Internal::Variable::make(next_.type(), next_name()), next_index_)));
  }

  Expr visit(const Internal::Call* call) override {
    if (call->name == carry_.name_ + ".previous")
      return Internal::Load::make(call->type, carry_.name_, elements(call), Buffer<>(), Parameter(),
                                  Internal::const_true(call->type.lanes()),
                                  Internal::ModulusRemainder());
    if (call->name != next_name()) return IRMutator::visit(call);
    next_ = mutate(call->args.back());
    next_index_ = elements(call);
    return Internal::Variable::make(call->type, next_name());
  }

  std::string next_name() const { return carry_.name_ + ".next"; }

  Stmt store(const Expr& value, const Expr& index) const {
    return Internal::Store::make(carry_.name_, value, index, Parameter(),
                                 Internal::const_true(value.type().lanes()),
                                 Internal::ModulusRemainder());
  }

  /// Returns the array elements that a call refers to.
  Expr elements(const Internal::Call* call) {
    const bool is_first = first_.empty();
    Expr first = 0;
    int stride = 1;
    for (size_t i = 0; i < carry_.slots_.size(); ++i) {
      Expr at = Internal::simplify(Internal::substitute(lets_, call->args[i + 1]));
      if (const auto* all = at.as<Internal::Broadcast>()) at = all->value;
      if (const auto* ramp = at.as<Internal::Ramp>()) at = ramp->base;
      if (is_first) first_.push_back(Internal::is_const(at) ? 0 : at);
      at = Internal::simplify(at - first_[i]);
      if (!Internal::can_prove(at >= 0 && at < carry_.slots_[i].extent))
        throw CompileError(carry_.name_ + ": a slot is out of range");
      first = first + at * stride;
      stride *= carry_.slots_[i].extent;
    }
    first = Internal::simplify(first);
    return call->type.is_vector() ? Internal::Ramp::make(first, 1, call->type.lanes()) : first;
  }

  Carry carry_;
  int count_ = 1;
  bool within_ = false;
  std::map<std::string, Expr> lets_;
  // Indices of the first call in a time loop. Non-constant indices of other calls are counted from
  // them.
  std::vector<Expr> first_;
  Expr next_, next_index_;  // of the store being rewritten
};

inline void Carry::attach(Pipeline pipeline) const {
  pipeline.add_custom_lowering_pass(new CarryLowering(*this));
}

/// Base of the generators with carries. Dimensions (d, t, r): column, time, row.
template <class T>
class CarryGenerator : public KernelGenerator<T> {
 public:
  void schedule() {
    for (const Carry& carry : carries_) carry.attach(this->get_pipeline());
  }

 protected:
  Var d{"d"}, t{"t"}, r{"r"};

  /// Makes a carry that schedule() attaches.
  Carry carry(const std::string& name, const RVar& time, std::vector<Carry::Slot> slots,
              const Expr& start) {
    carries_.emplace_back(name, time, std::move(slots), start);
    return carries_.back();
  }

 private:
  std::vector<Carry> carries_;
};

}  // namespace mmrec::generators
