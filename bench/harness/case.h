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

/// Returns the bits of the nearest bfloat16, ties to even.
uint16_t to_bf16(float x);

/// The arrays that a workload reads and writes. They lie in one arena, as in the model.
class Operands {
 public:
  /// With an arena without memory the object only counts bytes, and the tensors have null data.
  /// `guard`: number of floats before and after every array that belong to no array.
  Operands(uint64_t seed, Arena arena, int guard = 0)
      : seed_(seed), guard_(guard), arena_(std::move(arena)) {}

  /// Returns an array that a call writes without reading it. It is filled with NaN, which shows
  /// elements that the call did not write, or read before it wrote them.
  Tensor output(std::initializer_list<int> shape);
  /// The same for what the call keeps for a backward pass, in the thread's precision.
  SavedTensor saved(std::initializer_list<int> shape);
  /// Returns an array that a call reads or adds to: random numbers in [low, high), the same for the
  /// same seed.
  Tensor uniform(std::initializer_list<int> shape, float low = -1, float high = 1);
  /// The same in [-1, 1), rounded to bfloat16.
  Bf16Tensor uniform_bf16(std::initializer_list<int> shape);
  /// Returns random ids in [0, end).
  IntTensor ids(int count, int end);

  uint64_t seed() const { return seed_; }
  size_t bytes() const { return arena_.used(); }
  /// All arrays but those of ids, in the order of their creation.
  std::span<const SavedTensor> arrays() const { return arrays_; }
  /// All memory, from the first array's guard to the last array's guard.
  std::span<std::byte> memory() const { return {begin_, bytes()}; }

 private:
  template <class T>
  TensorView<T> take(std::initializer_list<int> shape);
  template <class T, class Convert>
  TensorView<T> uniform(std::initializer_list<int> shape, float low, float high,
                        const Convert& convert);

  uint64_t seed_;
  int guard_;
  Arena arena_;
  std::byte* begin_ = nullptr;
  std::vector<SavedTensor> arrays_;
  uint32_t next_ = 0;  // number of the next random stream
};

/// The expected content of an array after a call.
struct Expected {
  const char* name;
  SavedTensor array;
  reference::Array want;
};

/// Expects an array to which a call adds: its content now, plus `added`.
inline Expected accumulated(const char* name, const Tensor& sum, const reference::Array& added) {
  return {name, sum, sum + added};
}

/// A call and its operands.
struct Invocation {
  /// Computes operands from other operands, as an earlier pass would. Called once, before anything
  /// else. May be empty.
  std::function<void()> before{};
  std::function<void()> run{};
  /// Runs body(), which calls run(), where it is to be timed. By default with the current context's
  /// threads at hand (runtime/threads.h), but a call with threads of its own (Workload::rest) is
  /// left alone: inside a region OpenMP would give it none.
  std::function<void(const std::function<void()>& body)> around{};
  /// Returns the expected content of each array after the next run, computed in double precision
  /// from the current operands. Only workloads made from an operation's description
  /// (workloads/workloads.h) have it.
  std::function<std::vector<Expected>()> expect{};
};

/// A pass. `registry` is the registry's name of it; the names of rows are
/// <op>/<prefix><variant>/<label>/<sizes>.
struct Pass {
  std::string registry, label, prefix = "";
};
inline const Pass kForward{"forward", "fwd"}, kBackward{"backward", "bwd"},
    kPacked{"packed", "packed"};

/// A call to time, independent of the variant that executes it. `flops` and `bytes` are the minimum
/// of any variant: a fused multiply-add counts as two operations; each operand is read once; each
/// result, and each array kept for the backward pass, is written once.
struct Workload {
  std::string op;
  Pass pass;
  std::vector<int> sizes;
  double flops, bytes;
  double tokens = 0;  ///< tokens that one call trains on, or reads
  /// What the call's products round their factors to.
  Precision precision = Precision::kFloat32;
  /// The operation that computes the same from floats, if it is not `op`.
  std::string op_of_floats = {};
  /// Takes its arrays from the Operands and returns the call to time. Called twice: first without
  /// data, to count the arrays' bytes.
  std::function<Invocation(Operands&)> prepare;
  /// Ends the call's own threads, which would disturb the next measurement, or waits until they
  /// sleep. Called after each sample. May be null.
  void (*rest)() = nullptr;
};

/// One row of a table: a workload and one variant of it.
struct Case {
  std::shared_ptr<const Workload> work;
  std::string variant;
  /// True: a variant of the registry, which is forced. False: the workload's own call, the only
  /// one.
  bool registered;
  /// Does only the work that bounds the other rows of its group, so it is not their rival.
  bool limit = false;

  std::string name() const;
  /// The variant and, unless it is float's, the precision.
  std::string variant_name() const;
  /// The name without the variant, but with the precision. Rows are compared if they share it.
  std::string group() const { return group(work->precision); }
  /// The group of the same call in another precision.
  std::string group(Precision precision) const;
  /// Forces the variant during the lifetime of the result.
  std::unique_ptr<ScopedVariant> force() const;
};

/// Where a timed call finds its operands.
enum class Caches {
  kWarm,  ///< where the same call before it left them
  kCold,  ///< not in the L2 caches, and rarely in the last-level cache, as in a training step
};

/// A workload with its arrays in memory.
class Prepared {
 public:
  /// kCold: there are as many copies of the arrays as fill 64 MiB, at most 64, and each call takes
  /// the next. Those of small calls stay in the last-level cache. (Scratch memory stays warm, as in
  /// a training step.)
  Prepared(const Workload& work, uint64_t seed, Caches caches = Caches::kWarm, int guard = 0);
  /// Runs body(), which calls this, where it is to be timed; see Invocation.
  void run_with_threads(const std::function<void()>& body) const;
  /// Runs the call for `seconds`, untimed, to bring caches, threads and scratch memory into the
  /// state they have in the middle of a run. Call it after force().
  void warm_up(double seconds) const;
  void operator()() const {
    const ScopedPrecision scoped(precision_);
    copies_[next_].invocation.run();
    if (++next_ == copies_.size()) next_ = 0;
  }
  // These three are for kWarm: they are of the first copy.
  std::vector<Expected> expect() const {
    const ScopedPrecision scoped(precision_);
    return copies_.front().invocation.expect();
  }
  /// All arrays that the call reads or writes, but those of ids.
  std::span<const SavedTensor> arrays() const { return copies_.front().operands->arrays(); }
  std::span<std::byte> memory() const { return copies_.front().operands->memory(); }
  /// Ends the call's own threads, so that the next measurement finds all cores free. Call it after
  /// each sample.
  void rest() const {
    if (rest_) rest_();
  }

 private:
  struct Copy {
    std::unique_ptr<Operands> operands;  // stays where it is: the invocation may refer to it
    Invocation invocation;
  };
  std::vector<Copy> copies_;
  mutable size_t next_ = 0;
  void (*rest_)();
  Precision precision_;
};

class Cases {
 public:
  /// Adds a row for each of the registry's variants of the workload's pass, in all precisions that
  /// this machine can.
  void add(Workload workload);
  /// Adds one row for a call that is not in the registry, for example another library's matrix
  /// product. Its precision is the workload's.
  void add(Workload workload, std::string variant);
  /// Adds one row that does only the work that bounds the workload's variants.
  void add_limit(Workload workload, std::string variant);

  const std::vector<Case>& all() const { return cases_; }

 private:
  std::vector<Case> cases_;
};

}  // namespace mmrec::bench
