#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

namespace mmrec {

class Context;

/// Thread pool for parallel loops. The caller runs tasks too, and waits only for tasks that a
/// thread has begun: a late thread finds no work and delays nobody. (An OpenMP loop ends only when
/// every thread of the team has arrived, also one that the system has taken off its core. Beside
/// another busy process that made training up to ten times slower.)
class ThreadPool {
 public:
  /// Starts `workers` threads beside the caller. They compute with the caller's current context. If
  /// the system refuses to start so many, the pool has fewer.
  explicit ThreadPool(int workers);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  /// Number of threads, the caller included.
  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  /// Runs task(closure, i) for i in [0, count), in any order, on the workers and the calling
  /// thread. A task that returns other than 0 ends the loop: no further task begins, and run()
  /// returns that value. A requested stop (Interruptible) ends the loop in the same way with
  /// kInterrupted.
  /// Runs inline inside another task and while another thread uses the pool.
  /// Each thread begins with its own contiguous range of tasks, then helps the others. The range is
  /// the same in every loop of that count, so rows written by one loop are in the cache of the core
  /// that reads them in the next.
  static constexpr int kInterrupted = 1;
  int run(int count, int (*task)(void* closure, int i), void* closure);

 private:
  // Bit fields of gate_: job number | whether threads may enter the job | threads inside the job.
  static constexpr uint64_t kInside = 1, kOpen = uint64_t{1} << 15, kJob = uint64_t{1} << 16;

  /// The range of tasks that a thread runs first. A thread without tasks takes from the other
  /// threads' ranges.
  struct alignas(64) Part {
    std::atomic<int> next{0};
    int end = 0;
  };

  /// Returns whether the system has started all workers.
  bool start(int workers);
  void stop();
  void serve(Context* context, int thread);
  uint64_t next_job(uint64_t last);
  void take_tasks(int thread);

  int (*task_)(void* closure, int i) = nullptr;
  void* closure_ = nullptr;
  const std::atomic<int>* stop_asked_ = nullptr;  // the caller's Interruptible flag
  std::unique_ptr<Part[]> parts_;                 // one per thread; [0] is the caller's
  std::atomic<int> failure_{0};
  alignas(64) std::atomic<uint64_t> gate_{0};
  std::atomic<uint32_t> bell_{0};  // number of the current job; sleeping threads wait on it
  std::atomic<int> sleeping_{0};
  std::atomic<bool> stopping_{false};
  std::atomic_flag in_use_;
  std::vector<std::thread> workers_;
};

/// Returns the current context's pool (threads.h). Makes it if needed, with the requested number of
/// threads or as many as the system starts.
ThreadPool& current_pool();

/// Returns whether this thread must give up its work; see Interruptible.
bool interruption_asked();

/// Returns whether this thread is running a task of its current context's pool.
bool inside_parallel_loop();

/// For spin loops: pauses some ten nanoseconds and leaves the core's resources to its sibling
/// thread.
void pause_briefly();

}  // namespace mmrec
