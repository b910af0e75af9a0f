#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bench/reference/array.h"
#include "runtime/arena.h"
#include "runtime/kernel_registry.h"
#include "runtime/tensor.h"

namespace mmrec::bench {

/// The arrays that a workload reads and writes, in one arena as in the model.
class Operands {
 public:
  /// Without an arena's memory it only counts, and the tensors have no data. `guard` is the number
  /// of floats before and behind every array that belong to none.
  Operands(uint64_t seed, Arena arena, int guard = 0)
      : seed_(seed), guard_(guard), arena_(std::move(arena)) {}

  /// What a call writes without reading it. It starts as NaN, which shows where nothing was
  /// written, or what was read nevertheless.
  Tensor output(std::initializer_list<int> shape);
  /// Random numbers in [low, high), the same for the same seed: what a call reads, or adds to.
  Tensor uniform(std::initializer_list<int> shape, float low = -1, float high = 1);
  /// Random ids in [0, end).
  IntTensor ids(int count, int end);

  uint64_t seed() const { return seed_; }
  size_t bytes() const { return arena_.used(); }
  /// All arrays of floats, in the order in which they were taken.
  std::span<const Tensor> arrays() const { return arrays_; }
  /// Everything from the first array's guard to the last one's.
  std::span<std::byte> memory() const { return {begin_, bytes()}; }

 private:
  template <class T>
  TensorView<T> take(std::initializer_list<int> shape);

  uint64_t seed_;
  int guard_;
  Arena arena_;
  std::byte* begin_ = nullptr;
  std::vector<Tensor> arrays_;
  uint32_t next_ = 0;  // of the random numbers
};

/// What a call leaves in one of its arrays.
struct Expected {
  const char* name;
  Tensor array;
  reference::Array want;
};

/// A call with its operands.
struct Invocation {
  /// Makes operands out of others, as a pass does that comes earlier. It is called once, before
  /// anything else; there may be none.
  std::function<void()> before{};
  std::function<void()> run{};
  /// What the next run leaves in each array that it writes, computed in double precision from what
  /// the operands hold before. Only what the description of an operation (workloads/workloads.h)
  /// prepares has this.
  std::function<std::vector<Expected>()> expect{};
};

/// A pass as the registry and as the rows' names have it: <op>/<prefix><variant>/<label>/<sizes>.
struct Pass {
  std::string registry, label, prefix = "";
};
inline const Pass kForward{"forward", "fwd"}, kBackward{"backward", "bwd"};

/// What is timed, whoever does it. Its flops and bytes are what a call does at the least, whatever
/// the variant: a fused multiply-add is two operations; an operand is read once and a result, or
/// what is kept for the backward pass, written once.
struct Workload {
  std::string op;
  Pass pass;
  std::vector<int> sizes;
  double flops, bytes;
  double tokens = 0;  ///< that a call trains on
  /// Takes its arrays and returns the call to time. Comes twice: the first time to count the
  /// arrays' bytes, without data.
  std::function<Invocation(Operands&)> prepare;
  /// Ends threads of the call's own, which would disturb what is timed next; called after each
  /// sample.
  void (*rest)() = nullptr;
};

/// One row: a workload and a variant of it.
struct Case {
  std::shared_ptr<const Workload> work;
  std::string variant;
  bool registered;  ///< one of the registry's variants, to be forced; otherwise the workload's own
                    ///< call is all there is
  bool limit =
      false;  ///< does only what bounds the others of its group, and so is no rival of theirs

  std::string name() const;
  /// What rows must share to be compared: the name without the variant.
  std::string group() const;
  /// The variant's choice for as long as the result lives.
  std::unique_ptr<ScopedVariant> force() const;
};

/// A workload with its arrays in memory.
class Prepared {
 public:
  Prepared(const Workload& work, uint64_t seed, int guard = 0);
  /// Call after force(), for a time that does not count: brings caches, threads and scratch memory
  /// into the state that they have in the middle of a run.
  void warm_up(double seconds) const;
  void operator()() const { invocation_.run(); }
  std::vector<Expected> expect() const { return invocation_.expect(); }
  /// What the call reads and writes.
  std::span<const Tensor> arrays() const { return operands_.arrays(); }
  std::span<std::byte> memory() const { return operands_.memory(); }
  /// Call when a sample has been taken: what is timed next finds all cores free.
  void rest() const {
    if (rest_) rest_();
  }

 private:
  Operands operands_;
  Invocation invocation_;
  void (*rest_)();
};

class Cases {
 public:
  /// A row for every variant that the registry has of the workload's pass.
  void add(Workload workload);
  /// A row of its own: what is no kernel of the registry, for example another library's product.
  void add(Workload workload, std::string variant);
  /// A row that does only what bounds the workload's variants.
  void add_limit(Workload workload, std::string variant);

  const std::vector<Case>& all() const { return cases_; }

 private:
  std::vector<Case> cases_;
};

}  // namespace mmrec::bench
