#include "runtime/threads.h"

#include <HalideRuntime.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "runtime/cgroup_limits.h"
#include "runtime/scratch.h"
#include "runtime/thread_pool.h"
#include "support/error.h"

namespace mmrec {

namespace {

std::atomic<int> thread_count{0};  // 0: not set yet
std::function<void(int started, int wanted)> tell_of_missing_threads;
std::mutex halide_error_mutex;
std::string halide_error;  // of any thread: a kernel's tasks fail where they run, its caller reports it

/// The pool, of the size that set_num_threads last asked for, or as many as the system starts.
ThreadPool& pool() {
  static std::mutex mutex;
  static std::unique_ptr<ThreadPool> instance;
  static std::atomic<int> size{0};
  const int wanted = num_threads();
  if (size.load(std::memory_order_acquire) != wanted) {
    std::lock_guard lock(mutex);
    if (size.load(std::memory_order_relaxed) != wanted) {
      size = 0;
      instance.reset();  // its threads count among those that the system allows
      instance = std::make_unique<ThreadPool>(wanted - 1);
      const int started = instance->threads();
      thread_count = started;
      size.store(started, std::memory_order_release);
      if (started < wanted && tell_of_missing_threads) tell_of_missing_threads(started, wanted);
    }
  }
  return *instance;
}

int halide_par_for(void* user_context, halide_task_t task, int min, int size, uint8_t* closure) {
  struct Loop {
    void* user_context;
    halide_task_t task;
    int min;
    uint8_t* closure;
  } loop{user_context, task, min, closure};
  return pool().run(
      size,
      [](void* context, int i) {
        const auto& loop = *static_cast<const Loop*>(context);
        return loop.task(loop.user_context, loop.min + i, loop.closure);
      },
      &loop);
}

void* halide_scratch(void*, size_t bytes) {
  void* block = scratch_take(bytes);
  if (!block) {  // no exception may pass through a kernel's frames
    fmt::print(stderr, "error: out of memory: a kernel needs {:.1f} MiB of scratch memory\n", static_cast<double>(bytes) / (1 << 20));
    std::_Exit(1);
  }
  return block;
}
void halide_scratch_free(void*, void* block) { scratch_give_back(block); }
void halide_report(void*, const char* message) {
  std::lock_guard lock(halide_error_mutex);
  halide_error = message;
}

}  // namespace

int available_threads() {
  cpu_set_t cores;
  const int count = sched_getaffinity(0, sizeof cores, &cores) == 0 ? CPU_COUNT(&cores) : 1;
  const std::optional<double> quota = cgroup_limits().cpus;
  return quota ? std::clamp(static_cast<int>(std::ceil(std::min(*quota, 1e6))), 1, count) : count;
}

void set_num_threads(int threads) {
  if (threads < 1 || threads > 1024) fail_usage("the number of threads must be 1 to 1024, not {}", threads);
  thread_count = threads;
}

int num_threads() {
  if (const int set = thread_count.load(std::memory_order_relaxed)) return set;
  const int threads = available_threads();
  thread_count = threads;
  return threads;
}

int start_threads() {
  pool();
  return num_threads();
}

void on_missing_threads(std::function<void(int started, int wanted)> tell) { tell_of_missing_threads = std::move(tell); }

void parallel_for(int count, void (*call)(void* body, int i), void* body) {
  struct Loop {
    void (*call)(void* body, int i);
    void* body;
    std::exception_ptr first;
    std::mutex mutex;
  } loop{call, body, {}, {}};
  const int result = pool().run(
      count,
      [](void* context, int i) {
        auto& loop = *static_cast<Loop*>(context);
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

void install_halide_runtime() {
  static const bool installed = [] {
    halide_set_custom_do_par_for(halide_par_for);
    halide_set_custom_malloc(halide_scratch);
    halide_set_custom_free(halide_scratch_free);
    halide_set_error_handler(halide_report);
    return true;
  }();
  (void)installed;
  flush_denormals();
}

std::string last_halide_error() {
  std::lock_guard lock(halide_error_mutex);
  return halide_error;
}

}  // namespace mmrec
