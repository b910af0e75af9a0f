#include "runtime/executor.h"

#include <cstdint>

#include "runtime/context.h"
#include "runtime/flush_denormals.h"
#include "runtime/thread_state.h"
#include "runtime/trace.h"

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

namespace mmrec {

void pause_briefly() {
#if defined(__SSE__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

bool interruption_asked() {
  const std::atomic<int>* const asked = thread_state.stop_asked;
  return asked && asked->load(std::memory_order_relaxed) != 0;
}

bool inside_parallel_loop() { return thread_state.inside_task; }

Executor::Executor() : context_(&Context::current()) {}

void Executor::set_threads(int threads) {
  threads_ = threads;
  parts_ = std::make_unique<Part[]>(threads);
}

int Executor::run(int count, int (*task)(void* closure, int i), void* closure) {
  const FlushDenormals flush;
  const int parts = count < 2 || thread_state.inside_task ? 1 : threads_at_hand();
  if (parts < 2 || in_use_.test_and_set(std::memory_order_acquire)) {
    for (int i = 0; i < count; ++i) {
      if (interruption_asked()) return kInterrupted;
      if (const int result = task(closure, i)) return result;
    }
    return 0;
  }
  task_ = task;
  closure_ = closure;
  kernel_ = thread_state.kernel;
  precision_ = thread_state.precision;
  stop_asked_ = thread_state.stop_asked;
  count_of_parts_ = parts;
  for (int64_t i = 0; i < parts; ++i) {
    parts_[i].next.store(static_cast<int>(count * i / parts), std::memory_order_relaxed);
    parts_[i].end = static_cast<int>(count * (i + 1) / parts);
  }
  failure_.store(0, std::memory_order_relaxed);
  share_out();
  const int failure = failure_.load(std::memory_order_relaxed);
  in_use_.clear(std::memory_order_release);
  return failure;
}

void Executor::take_tasks(int first) {
  const ThreadState before = thread_state;
  thread_state.context = context_;
  thread_state.inside_task = true;
  thread_state.precision = precision_;
  thread_state.stop_asked = stop_asked_;
  TracedPart traced(kernel_, parts_[parts() - 1].end);
  for (int i = 0; i < parts(); ++i) {
    Part& part = parts_[(first + i) % parts()];
    for (int task; failure_.load(std::memory_order_relaxed) == 0 &&
                   (task = part.next.fetch_add(1, std::memory_order_relaxed)) < part.end;) {
      traced.add(task);
      if (const int result = interruption_asked() ? kInterrupted : task_(closure_, task)) {
        int none = 0;
        failure_.compare_exchange_strong(none, result, std::memory_order_relaxed);
      }
    }
  }
  thread_state = before;
}

}  // namespace mmrec
