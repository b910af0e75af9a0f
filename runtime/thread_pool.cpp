#include "runtime/thread_pool.h"

#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <new>
#include <optional>
#include <system_error>

#include "runtime/flush_denormals.h"
#include "runtime/openmp_executor.h"
#include "runtime/trace.h"

namespace mmrec {

namespace {

// Spins before a worker sleeps, and before the caller yields its core while the last tasks end.
// Some ten microseconds: several times the gap between two loops of a training step.
constexpr int kSpins = 1000;

// What glibc reserves for the allocations of a thread, whenever the first of them is.
constexpr uint64_t kHeapBytes = uint64_t{64} << 20;

/// Returns how many of `workers` threads may start. Where the process's address space is limited
/// (ulimit -v), their stacks and heaps take at most half of what is free: the rest is the model's.
int workers_with_room(int workers) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return workers;
  uint64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  const uint64_t used = pages * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  const uint64_t free = limit.rlim_cur - std::min<uint64_t>(used, limit.rlim_cur);
  pthread_attr_t defaults;
  size_t stack = 0;
  if (::pthread_attr_init(&defaults) == 0) {
    ::pthread_attr_getstacksize(&defaults, &stack);
    ::pthread_attr_destroy(&defaults);
  }
  const uint64_t room = free / 2 / (stack + kHeapBytes);
  return static_cast<int>(std::min<uint64_t>(workers, room));
}

}  // namespace

ThreadPool::ThreadPool(int workers) {
  workers = workers_with_room(workers);
  workers_.reserve(workers);
  try {
    for (int i = 0; i < workers; ++i) workers_.emplace_back([this, i] { serve(i + 1); });
  } catch (const std::system_error&) {  // system limit reached: run with the threads that started
  } catch (const std::bad_alloc&) {
  }
  set_threads(static_cast<int>(workers_.size()) + 1);
}

ThreadPool::~ThreadPool() {
  stopping_ = true;
  bell_.fetch_add(1);
  bell_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

int ThreadPool::threads_at_hand() const { return inside_openmp_region() ? 1 : threads(); }

void ThreadPool::share_out() {
  const uint64_t job = (gate_.load(std::memory_order_relaxed) / kJob + 1) * kJob;
  gate_.store(job | kOpen);
  bell_.store(static_cast<uint32_t>(job / kJob));
  if (sleeping_.load() > 0) bell_.notify_all();

  take_tasks(0);
  // No thread can enter any more. Threads inside may still run a task.
  gate_.fetch_and(~kOpen);
  const TracedWait waiting;
  for (int spins = 0; gate_.load(std::memory_order_acquire) % kOpen != 0; ++spins)
    if (spins < kSpins)
      pause_briefly();
    else
      sched_yield();
}

void ThreadPool::serve(int thread) {
  if (const std::optional<cpu_set_t> cores = openmp_places())
    sched_setaffinity(0, sizeof *cores, &*cores);
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
