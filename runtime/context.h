#pragma once

#include <memory>

#include "runtime/thread_state.h"

namespace mmrec {

/// What kernels, loops and models compute with: the number of threads and the threads (threads.h), scratch memory (scratch.h), which kernels
/// are forced (kernel_registry.h), the profile (profile.h) and the last error of Halide's runtime (halide_runtime.h). The functions of
/// those files are about the current context. Two contexts share nothing that changes: two host threads with one each compute
/// side by side. Two host threads with the same one compute right too, but only one of them uses the pool's threads at a time.
class Context {
 public:
  /// Nothing is forced but what MMREC_FORCE says, and nothing started: threads come with the first parallel loop.
  Context();
  /// Not while anything computes with it; models and memory that were made with it must be gone.
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  /// That of the innermost Use on the calling thread, or of the pool that the thread belongs to; else the default one, which serves
  /// programs and every thread that makes none.
  static Context& current() {
    Context* const context = thread_state.context;
    return context ? *context : of_programs();
  }

  /// While it lives, the context is the calling thread's current one.
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

  /// For the runtime alone (context_parts.h).
  struct Parts;
  Parts& parts() { return *parts_; }

 private:
  /// The default one.
  static Context& of_programs();

  const std::unique_ptr<Parts> parts_;
};

}  // namespace mmrec
