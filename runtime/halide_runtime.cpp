#include "runtime/halide_runtime.h"

#include <HalideRuntime.h>

#include <atomic>
#include <mutex>
#include <utility>

#include "runtime/context_parts.h"
#include "runtime/thread_state.h"

namespace mmrec {

namespace {

int parallel_loop(void* user_context, halide_task_t task, int min, int size, uint8_t* closure) {
  struct Loop {
    void* user_context;
    halide_task_t task;
    int min;
    uint8_t* closure;
    std::atomic<size_t> lacking{0};  // bytes that a task requested when memory ran out
  } loop{user_context, task, min, closure};
  const int result = current_executor().run(
      size,
      [](void* closure, int i) {
        auto& loop = *static_cast<Loop*>(closure);
        KernelCall call;
        const int result =
            call.run([&] { return loop.task(loop.user_context, loop.min + i, loop.closure); });
        if (call.lacking() != 0) loop.lacking.store(call.lacking(), std::memory_order_relaxed);
        return result;
      },
      &loop);
  const size_t lacking = loop.lacking.load(std::memory_order_relaxed);
  if (lacking != 0 && thread_state.call) thread_state.call->end_without_memory(lacking);
  return result;
}

void* take_scratch(void*, size_t bytes) {
  KernelCall* const call = thread_state.call;
  return call ? call->take(bytes) : Context::current().parts().scratch.take(bytes);
}

void give_back_scratch(void*, void* block) { ScratchPool::give_back(block); }

void report(void*, const char* message) {
  HalideError& error = Context::current().parts().error;
  std::lock_guard lock(error.mutex);
  error.message = message;
}

}  // namespace

void install_halide_runtime() {
  static const bool installed = [] {
    halide_set_custom_do_par_for(parallel_loop);
    halide_set_custom_malloc(take_scratch);
    halide_set_custom_free(give_back_scratch);
    halide_set_error_handler(report);
    return true;
  }();
  (void)installed;
}

std::string last_halide_error() {
  HalideError& error = Context::current().parts().error;
  std::lock_guard lock(error.mutex);
  return error.message;
}

KernelCall::KernelCall() : outer_(std::exchange(thread_state.call, this)) {}
KernelCall::~KernelCall() { thread_state.call = outer_; }

void* KernelCall::take(size_t bytes) {
  void* const block = Context::current().parts().scratch.take(bytes, &held_);
  if (!block) end_without_memory(bytes);
  return block;
}

void KernelCall::end_without_memory(size_t bytes) {
  lacking_ = bytes;
  __builtin_longjmp(end_, 1);
}

}  // namespace mmrec
