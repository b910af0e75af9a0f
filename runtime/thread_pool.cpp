#include "runtime/thread_pool.h"

#include <sched.h>
#include <sys/resource.h>

#include <new>
#include <system_error>

#include "runtime/context.h"
#include "runtime/flush_denormals.h"
#include "runtime/thread_state.h"

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

namespace mmrec {

namespace {

// Spins before a worker sleeps, and before the caller yields its core while the last tasks end.
// Some ten microseconds: several times the gap between two loops of a training step.
constexpr int kSpins = 1000;

bool address_space_is_limited() {
  rlimit limit{};
  return ::getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
}

}  // namespace

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

ThreadPool::ThreadPool(int workers) : parts_(std::make_unique<Part[]>(workers + 1)) {
  workers_.reserve(workers);
  if (start(workers) || !address_space_is_limited()) return;
  // The stacks have used up the address space, and a thread's own allocations take several times
  // its stack. A sixteenth of the threads leaves most of the space to the model.
  const int some = static_cast<int>(workers_.size()) / 16;
  stop();
  start(some);
}

ThreadPool::~ThreadPool() { stop(); }

bool ThreadPool::start(int workers) {
  stopping_ = false;
  Context* const context = &Context::current();
  try {
    for (int i = 0; i < workers; ++i)
      workers_.emplace_back([this, context, i] { serve(context, i + 1); });
    return true;
  } catch (const std::system_error&) {  // system limit reached: run with the threads that started
  } catch (const std::bad_alloc&) {
  }
  return false;
}

void ThreadPool::stop() {
  stopping_ = true;
  bell_.fetch_add(1);
  bell_.notify_all();
  for (std::thread& worker : workers_) worker.join();
  workers_.clear();
}

int ThreadPool::run(int count, int (*task)(void* closure, int i), void* closure) {
  const FlushDenormals flush;
  if (count < 2 || thread_state.inside_task || workers_.empty() ||
      in_use_.test_and_set(std::memory_order_acquire)) {
    for (int i = 0; i < count; ++i) {
      if (interruption_asked()) return kInterrupted;
      if (const int result = task(closure, i)) return result;
    }
    return 0;
  }
  task_ = task;
  closure_ = closure;
  stop_asked_ = thread_state.stop_asked;
  for (int64_t i = 0; i < threads(); ++i) {
    parts_[i].next.store(static_cast<int>(count * i / threads()), std::memory_order_relaxed);
    parts_[i].end = static_cast<int>(count * (i + 1) / threads());
  }
  failure_.store(0, std::memory_order_relaxed);
  const uint64_t job = (gate_.load(std::memory_order_relaxed) / kJob + 1) * kJob;
  gate_.store(job | kOpen);
  bell_.store(static_cast<uint32_t>(job / kJob));
  if (sleeping_.load() > 0) bell_.notify_all();

  take_tasks(0);
  // No thread can enter any more. Threads inside may still run a task.
  gate_.fetch_and(~kOpen);
  for (int spins = 0; gate_.load(std::memory_order_acquire) % kOpen != 0; ++spins)
    if (spins < kSpins)
      pause_briefly();
    else
      sched_yield();
  const int failure = failure_.load(std::memory_order_relaxed);
  in_use_.clear(std::memory_order_release);
  return failure;
}

void ThreadPool::take_tasks(int thread) {
  thread_state.inside_task = true;
  thread_state.stop_asked = stop_asked_;
  for (int i = 0; i < threads(); ++i) {
    Part& part = parts_[(thread + i) % threads()];
    for (int task; failure_.load(std::memory_order_relaxed) == 0 &&
                   (task = part.next.fetch_add(1, std::memory_order_relaxed)) < part.end;)
      if (const int result = interruption_asked() ? kInterrupted : task_(closure_, task)) {
        int none = 0;
        failure_.compare_exchange_strong(none, result, std::memory_order_relaxed);
      }
  }
  thread_state.inside_task = false;
  if (thread > 0) thread_state.stop_asked = nullptr;
}

void ThreadPool::serve(Context* context, int thread) {
  thread_state.context = context;
  const FlushDenormals flush;
  for (uint64_t last = 0; (last = next_job(last)) != 0;) {
    take_tasks(thread);
    gate_.fetch_sub(kInside, std::memory_order_release);
  }
}

/// Waits for a job other than `last`, enters it and returns its number. Returns 0 when the pool
/// stops.
uint64_t ThreadPool::next_job(uint64_t last) {
  for (int spins = 0;; ++spins) {
    const uint32_t heard = bell_.load();
    if (stopping_.load(std::memory_order_relaxed)) return 0;
    uint64_t gate = gate_.load();
    while ((gate & kOpen) != 0 && gate / kJob != last)
      if (gate_.compare_exchange_weak(gate, gate + kInside)) return gate / kJob;
    if (spins < kSpins) {
      pause_briefly();
      continue;
    }
    ++sleeping_;
    bell_.wait(heard);
    --sleeping_;
    spins = 0;
  }
}

}  // namespace mmrec
