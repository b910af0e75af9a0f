#pragma once

#include <Halide.h>

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace mmrec::generators {

using namespace Halide;

/// Rewrites the stores of a scan's step: unrolled vectors, adjacent in memory. Halide itself
/// unrolls only upwards and has no streaming stores.
///
/// `downwards`: if time runs downwards, the vectors are stored in descending order too. Ascending
/// stores within descending steps would mislead the hardware prefetchers.
///
/// Loops over the variable `streamed`: the vectors go to a line buffer on the stack, and from there
/// by a call (runtime/stream_store.h) past the caches to memory. The memory is then only written,
/// not read first.
class StepStores : public Internal::IRMutator {
 public:
  /// arrays: the arrays that each vector's step stores into, in that order.
  StepStores(std::vector<std::string> arrays, const std::string& streamed, bool downwards)
      : arrays_(std::move(arrays)), streamed_("." + streamed), downwards_(downwards) {}

 private:
  using IRMutator::visit;
  using Stmt = Internal::Stmt;

  /// Finds the store of a vector into an array, in a statement without loops and branches.
  struct StoreSearch : Internal::IRVisitor {
    using IRVisitor::visit;
    void visit(const Internal::LetStmt* let) override {
      lets[let->name] = Internal::substitute(lets, let->value);
      IRVisitor::visit(let);
    }
    void visit(const Internal::Store* store) override {
      const auto* ramp = store->index.as<Internal::Ramp>();
      if (store->name != array || !ramp) return;
      base = Internal::substitute(lets, ramp->base);
      lanes = ramp->lanes;
    }
    void visit(const Internal::For*) override {}
    void visit(const Internal::IfThenElse*) override {}

    std::string array;
    std::map<std::string, Expr> lets;
    Expr base;
    int lanes = 0;
  };

  Stmt visit(const Internal::For* loop) override {
    const bool is_streamed = loop->name.ends_with(streamed_);
    within_streamed_ = within_streamed_ || is_streamed;
    const Stmt result = IRMutator::visit(loop);
    if (!is_streamed) return result;
    if (!std::exchange(streams_, false))
      throw CompileError(loop->name + ": there are no steps' vectors to stream");
    within_streamed_ = false;
    return Internal::Block::make(result, call("mmrec_stream_fence", {}));
  }

  Stmt visit(const Internal::Block* block) override {
    std::vector<Stmt> parts;  // one store each; the arrays alternate
    flatten(block, parts);
    const size_t arrays = arrays_.size(), vectors = parts.size() / arrays;
    if (parts.size() % arrays != 0) return IRMutator::visit(block);
    std::vector<StoreSearch> stores(parts.size());
    for (size_t i = 0; i < parts.size(); ++i) {
      stores[i].array = arrays_[i % arrays];
      parts[i].accept(&stores[i]);
      if (stores[i].lanes == 0) return IRMutator::visit(block);
    }
    const int lanes = stores.front().lanes, count = lanes * static_cast<int>(vectors);
    if (within_streamed_)
      for (size_t i = 0; i < parts.size(); ++i) {
        at_ = lanes * static_cast<int>(i / arrays);
        if (!Internal::can_prove(stores[i].base == stores[i % arrays].base + at_))
          throw CompileError(stores[i].array + ": a step's vectors are no neighbours");
        array_ = stores[i].array;
        parts[i] = mutate(parts[i]);
      }
    if (downwards_)
      for (size_t low = 0, high = vectors - 1; low < high; ++low, --high)
        std::swap_ranges(parts.begin() + low * arrays, parts.begin() + (low + 1) * arrays,
                         parts.begin() + high * arrays);
    if (!within_streamed_) return Internal::Block::make(parts);
    streams_ = true;
    const auto address = [](const std::string& name) {
      return Internal::Variable::make(Handle(), name);
    };
    for (size_t i = 0; i < arrays; ++i)
      parts.push_back(call(
          "mmrec_stream_store",
          {address(arrays_[i]), cast<int64_t>(stores[i].base), address(line(arrays_[i])), count}));
    Stmt step = Internal::Block::make(parts);
    for (const std::string& array : arrays_)
      step = Internal::Allocate::make(line(array), Float(32), MemoryType::Stack, {count},
                                      Internal::const_true(), step);
    return step;
  }

  Stmt visit(const Internal::Store* store) override {
    if (store->name != array_) return IRMutator::visit(store);
    array_.clear();
    const Expr index = Internal::Ramp::make(at_, 1, store->value.type().lanes());
    return Internal::Store::make(line(store->name), store->value, index, Parameter(),
                                 store->predicate, Internal::ModulusRemainder());
  }

  static void flatten(const Stmt& stmt, std::vector<Stmt>& parts) {
    const auto* block = stmt.as<Internal::Block>();
    if (!block) return parts.push_back(stmt);
    flatten(block->first, parts);
    flatten(block->rest, parts);
  }

  static Stmt call(const char* function, const std::vector<Expr>& arguments) {
    return Internal::Evaluate::make(
        Internal::Call::make(Int(32), function, arguments, Internal::Call::Extern));
  }

  static std::string line(const std::string& array) { return array + ".line"; }

  std::vector<std::string> arrays_;
  std::string streamed_;
  bool downwards_, within_streamed_ = false, streams_ = false;
  std::string array_;  // of the store being rewritten
  int at_ = 0;         // its position in the line buffer
};

}  // namespace mmrec::generators
