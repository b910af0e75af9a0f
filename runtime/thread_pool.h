#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

namespace mmrec {

class Context;

/// The threads behind parallel loops. The caller takes tasks too and waits for claimed tasks only; a thread that comes late
/// finds nothing to do and is not missed. (An OpenMP loop, by contrast, ends when every thread of the team has been there, also
/// one that the system has taken off its core: beside another busy process, training was up to ten times slower that way.)
class ThreadPool {
 public:
  /// workers: threads beside the caller, which compute with the caller's current context. Where the system starts fewer, there are fewer.
  explicit ThreadPool(int workers);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  /// The caller among them.
  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  /// task(closure, i) for i in [0, count) in any order, on the workers and the calling thread, until one returns other than
  /// 0, or a stop is asked for (Interruptible): then no further task is begun, and that or kInterrupted is returned. Runs inline inside another task,
  /// and when another thread is using the pool. Each thread begins with its own contiguous part of the tasks, the same one in every loop of that
  /// count, so that rows that one loop has written are in the cache of the core that reads them in the next; then it helps the others.
  static constexpr int kInterrupted = 1;
  int run(int count, int (*task)(void* closure, int i), void* closure);

 private:
  // gate_: which job there is, whether threads may still enter it, and how many are in it.
  static constexpr uint64_t kInside = 1, kOpen = uint64_t{1} << 15, kJob = uint64_t{1} << 16;

  /// The tasks that a thread takes first; whoever has none left takes from the others' parts.
  struct alignas(64) Part {
    std::atomic<int> next{0};
    int end = 0;
  };

  /// Whether the system has started all of them.
  bool start(int workers);
  void stop();
  void serve(Context* context, int thread);
  uint64_t next_job(uint64_t last);
  void take_tasks(int thread);

  int (*task_)(void* closure, int i) = nullptr;
  void* closure_ = nullptr;
  const std::atomic<int>* stop_asked_ = nullptr;  // the caller's
  std::unique_ptr<Part[]> parts_;                 // one a thread; the caller's is the first
  std::atomic<int> failure_{0};
  alignas(64) std::atomic<uint64_t> gate_{0};
  std::atomic<uint32_t> bell_{0};  // the job's number, for threads that sleep
  std::atomic<int> sleeping_{0};
  std::atomic<bool> stopping_{false};
  std::atomic_flag in_use_;
  std::vector<std::thread> workers_;
};

/// The current context's pool (threads.h), with as many threads as were asked for, or as many as the system starts.
ThreadPool& current_pool();

/// Whether this thread is to give up what it does; see Interruptible.
bool interruption_asked();

/// Whether this thread is at a task of a pool of its current context.
bool inside_parallel_loop();

/// For loops that wait for another thread: a moment, some ten nanoseconds, that leaves the core's resources to others.
void pause_briefly();

}  // namespace mmrec
