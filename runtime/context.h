#pragma once

#include <memory>

namespace mmrec {

/// What the factors of matrix products are rounded to; kInt8: only weights that were packed
/// beforehand, with a scale for each output (runtime/ops/weight.h). Sums are float with all of
/// them, and arrays but for SavedTensor.
enum class Precision { kFloat32, kBf16, kInt8 };
inline constexpr int kPrecisions = 3;

/// The state that kernels, parallel loops and models compute with: thread count and threads
/// (threads.h), scratch memory (scratch.h), forced kernels (kernel_registry.h), the
/// profile (profile.h) and the last error of Halide's runtime (halide_runtime.h). The functions of
/// those headers act on the current context.
///
/// Two contexts share no mutable state: two host threads with a context each compute side by side.
/// Two host threads may also share one context; the results are correct, but only one of them uses
/// the executor's threads at a time.
class Context {
 public:
  /// Forces only the kernels that MMREC_FORCE names, and has the executor that MMREC_EXECUTOR
  /// names; throws a UsageError if there is none of that name. Starts no threads: the first
  /// parallel loop starts them.
  Context();
  /// Destroy only when nothing computes with the context. Destroy models and memory created with it
  /// first.
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  /// Returns the context of the innermost Use on the calling thread. In a task it is the context of
  /// the loop. All other threads return the default context of the program.
  static Context& current();

  /// Makes `context` the current context of the calling thread during the lifetime of this object.
  class Use {
   public:
    explicit Use(Context& context);
    ~Use();
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;

   private:
    Context* before_;
    bool inside_task_before_;
  };

  /// For the runtime only (context_parts.h).
  struct Parts;
  Parts& parts() { return *parts_; }

 private:
  const std::unique_ptr<Parts> parts_;
};

}  // namespace mmrec
