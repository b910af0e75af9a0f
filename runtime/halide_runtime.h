#pragma once

#include <HalideRuntime.h>

#include <cstddef>
#include <string>

#include "runtime/scratch.h"

namespace mmrec {

/// Installs what is behind Halide's runtime: parallel loops on the current context's pool, scratch memory from it, errors reported to it. Once
/// for the process; whichever thread a kernel runs on has its context. Idempotent.
void install_halide_runtime();

/// The message of the last error that Halide's runtime reported in the current context, on whichever thread.
std::string last_halide_error();

/// A call of generated code, or of a task of it, by this thread. No exception can leave such code, which has no unwind tables, and it
/// does not look at what halide_malloc returns. So where there is no memory, a jump ends it, and this gives back what it held.
class KernelCall {
 public:
  KernelCall();
  ~KernelCall();
  KernelCall(const KernelCall&) = delete;
  KernelCall& operator=(const KernelCall&) = delete;

  /// Once: calls code() and returns its result, or Halide's code for it where memory ran out. The compiler's own jump, a quarter of
  /// setjmp's time, keeps no registers: so this is a function of its own, which saves all of them for its caller.
  template <class Code>
  [[gnu::noinline]] int run(const Code& code) {
    return __builtin_setjmp(end_) == 0 ? code() : static_cast<int>(halide_error_code_out_of_memory);
  }
  /// The bytes that were asked for when memory ran out, or 0.
  size_t lacking() const { return lacking_; }

  /// Memory for what it runs.
  void* take(size_t bytes);
  /// Ends what it runs.
  [[noreturn]] void end_without_memory(size_t bytes);

 private:
  KernelCall* const outer_;
  ScratchPool::Held held_;
  size_t lacking_ = 0;
  void* end_[5];  // as __builtin_setjmp wants it
};

}  // namespace mmrec
