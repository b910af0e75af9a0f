#pragma once

#include <atomic>
#include <functional>
#include <memory>

#include "runtime/context.h"

namespace mmrec {

struct KernelEntry;

/// Runs parallel loops on several threads. The forms (thread_pool.h, openmp_executor.h) differ in
/// where the threads come from. In both the caller runs tasks too and waits only for threads that
/// have begun: a late thread finds no work and delays nobody.
class Executor {
 public:
  virtual ~Executor() = default;
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  /// Number of threads, the caller included.
  int threads() const { return threads_; }

  /// Runs task(closure, i) for i in [0, count), in any order, on the calling thread and the others.
  /// A task that returns other than 0 ends the loop: no further task begins, and run() returns that
  /// value. A requested stop (Interruptible) ends the loop in the same way with kInterrupted.
  /// Runs inline inside another task and while another thread uses the executor.
  /// Each thread begins with its own contiguous range of tasks, then helps the others. The range is
  /// the same in every loop of that count, so rows written by one loop are in the cache of the core
  /// that reads them in the next.
  static constexpr int kInterrupted = 1;
  int run(int count, int (*task)(void* closure, int i), void* closure);

  /// Runs body(), whose loops find the threads at hand. body() may replace the context's executor.
  virtual void run_with_threads(const std::function<void()>& body) { body(); }

 protected:
  /// Tasks compute with the current context of the thread that calls this.
  Executor();

  void set_threads(int threads);
  /// Number of threads that a loop of the calling thread may use now.
  virtual int threads_at_hand() const = 0;
  /// Calls take_tasks(0) on this thread and take_tasks(i), 0 < i < parts(), on others that are
  /// free. Returns when all these calls have ended.
  virtual void share_out() = 0;
  /// Number of ranges of the current loop.
  int parts() const { return count_of_parts_; }
  /// Runs tasks of range `part`, then of the others, until none is left.
  void take_tasks(int part);

 private:
  /// The tasks that a thread runs first. Threads without tasks take from the others' ranges.
  struct alignas(64) Part {
    std::atomic<int> next{0};
    int end = 0;
  };

  Context* const context_;
  int threads_ = 1;
  std::atomic_flag in_use_;
  int (*task_)(void* closure, int i) = nullptr;
  void* closure_ = nullptr;
  const KernelEntry* kernel_ = nullptr;  // whose loop it is, if that is recorded; see ThreadState
  Precision precision_ = Precision::kFloat32;     // the caller's
  const std::atomic<int>* stop_asked_ = nullptr;  // the caller's Interruptible flag
  int count_of_parts_ = 0;
  std::unique_ptr<Part[]> parts_;  // one per thread; [0] is the caller's
  std::atomic<int> failure_{0};
};

/// Returns the current context's executor (threads.h). Makes it if needed, with the requested
/// number of threads or as many as the system starts.
Executor& current_executor();

/// Returns whether this thread must give up its work; see Interruptible.
bool interruption_asked();

/// Returns whether this thread is running a task of its current context's executor.
bool inside_parallel_loop();

/// For spin loops: pauses some ten nanoseconds and leaves the core's resources to its sibling
/// thread.
void pause_briefly();

}  // namespace mmrec
