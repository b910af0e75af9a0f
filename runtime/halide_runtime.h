#pragma once

#include <HalideRuntime.h>

#include <cstddef>
#include <string>

#include "runtime/scratch.h"

namespace mmrec {

/// Installs the hooks of Halide's runtime: parallel loops run on the current context's executor,
/// scratch memory comes from the context, errors are stored in the context. Installed once for the
/// process; every thread that runs a kernel has the right context. Idempotent.
void install_halide_runtime();

/// Returns the message of the last error that Halide's runtime reported in the current context, on
/// any thread.
std::string last_halide_error();

/// One call of generated code, or of one of its tasks, on this thread. Generated code has no unwind
/// tables, so no exception can leave it, and it does not check the result of halide_malloc. When
/// memory runs out, longjmp therefore ends the code, and the destructor returns the scratch blocks
/// it held.
class KernelCall {
 public:
  KernelCall();
  ~KernelCall();
  KernelCall(const KernelCall&) = delete;
  KernelCall& operator=(const KernelCall&) = delete;

  /// Calls code() and returns its result, or halide_error_code_out_of_memory if memory ran out.
  /// Call it once. The compiler's own jump takes a quarter of setjmp's time but keeps no registers.
  /// So this is a separate function, which saves all of them for its caller.
  template <class Code>
  [[gnu::noinline]] int run(const Code& code) {
    return __builtin_setjmp(end_) == 0 ? code() : static_cast<int>(halide_error_code_out_of_memory);
  }
  /// The number of bytes requested when memory ran out; 0 if it did not.
  size_t lacking() const { return lacking_; }

  /// Scratch memory for the running code. Does not return if there is none.
  void* take(size_t bytes);
  /// Ends the running code with a jump to run().
  [[noreturn]] void end_without_memory(size_t bytes);

 private:
  KernelCall* const outer_;
  ScratchPool::Held held_;
  size_t lacking_ = 0;
  void* end_[5];  // as __builtin_setjmp wants it
};

}  // namespace mmrec
