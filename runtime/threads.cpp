#include "runtime/threads.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "runtime/cgroup_limits.h"
#include "runtime/context_parts.h"
#include "runtime/thread_pool.h"
#include "runtime/thread_state.h"
#include "support/error.h"

namespace mmrec {

namespace {

/// The current context's pool state.
PoolOfContext& of_context() { return Context::current().parts().pool; }

}  // namespace

int available_threads() {
  cpu_set_t cores;
  const int count = sched_getaffinity(0, sizeof cores, &cores) == 0 ? CPU_COUNT(&cores) : 1;
  const std::optional<double> quota = cgroup_limits().cpus;
  return quota ? std::clamp(static_cast<int>(std::ceil(std::min(*quota, 1e6))), 1, count) : count;
}

void set_num_threads(int threads) {
  if (threads < 1 || threads > 1024)
    fail_usage("the number of threads must be 1 to 1024, not {}", threads);
  of_context().threads = threads;
}

int num_threads() {
  PoolOfContext& context = of_context();
  if (const int set = context.threads.load(std::memory_order_relaxed)) return set;
  const int threads = available_threads();
  context.threads = threads;
  return threads;
}

ThreadPool& current_pool() {
  PoolOfContext& context = of_context();
  if (context.made_for.load(std::memory_order_acquire) != num_threads()) {
    std::lock_guard lock(context.mutex);
    if (const int wanted = num_threads();
        context.made_for.load(std::memory_order_relaxed) != wanted) {
      context.made_for = 0;
      context.pool.reset();  // its threads count towards the system's limit
      context.pool = std::make_unique<ThreadPool>(wanted - 1);
      const int started = context.pool->threads();
      context.threads = started;
      context.made_for.store(started, std::memory_order_release);
      if (started < wanted && context.tell_of_missing_threads)
        context.tell_of_missing_threads(started, wanted);
    }
  }
  return *context.pool;
}

int start_threads() {
  current_pool();
  return num_threads();
}

void on_missing_threads(std::function<void(int started, int wanted)> tell) {
  of_context().tell_of_missing_threads = std::move(tell);
}

void parallel_for(int count, void (*call)(void* body, int i), void* body) {
  struct Loop {
    void (*call)(void* body, int i);
    void* body;
    std::exception_ptr first;
    std::mutex mutex;
  } loop{call, body, {}, {}};
  const int result = current_pool().run(
      count,
      [](void* closure, int i) {
        auto& loop = *static_cast<Loop*>(closure);
        try {
          loop.call(loop.body, i);
        } catch (...) {
          std::lock_guard lock(loop.mutex);
          if (!loop.first) loop.first = std::current_exception();
        }
        return 0;
      },
      &loop);
  if (loop.first) std::rethrow_exception(loop.first);
  if (result == ThreadPool::kInterrupted) throw Interrupted();
}

Interruptible::Interruptible(const std::atomic<int>& asked)
    : before_(std::exchange(thread_state.stop_asked, &asked)) {}
Interruptible::~Interruptible() { thread_state.stop_asked = before_; }

void check_interruption() {
  if (interruption_asked()) throw Interrupted();
}

}  // namespace mmrec
