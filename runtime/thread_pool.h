#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace mmrec {

/// The threads behind parallel loops. The caller takes tasks too and waits for claimed tasks only; a thread that comes late
/// finds nothing to do and is not missed. (An OpenMP loop, by contrast, ends when every thread of the team has been there, also
/// one that the system has taken off its core: beside another busy process, training was up to ten times slower that way.)
class ThreadPool {
 public:
  /// workers: threads beside the caller.
  explicit ThreadPool(int workers);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  /// task(context, i) for i in [0, count) in any order, on the workers and the calling thread, until one returns other than
  /// 0: then no further task is begun and that is returned. Runs inline inside another task, and when another thread is
  /// using the pool.
  int run(int count, int (*task)(void* context, int i), void* context);

 private:
  // gate_: which job there is, whether threads may still enter it, and how many are in it.
  static constexpr uint64_t kInside = 1, kOpen = uint64_t{1} << 15, kJob = uint64_t{1} << 16;

  void serve();
  uint64_t next_job(uint64_t last);
  void take_tasks();

  int (*task_)(void* context, int i) = nullptr;
  void* context_ = nullptr;
  int count_ = 0;
  alignas(64) std::atomic<int> next_{0};
  std::atomic<int> failure_{0};
  alignas(64) std::atomic<uint64_t> gate_{0};
  std::atomic<uint32_t> bell_{0};  // the job's number, for threads that sleep
  std::atomic<int> sleeping_{0};
  std::atomic<bool> stopping_{false};
  std::mutex in_use_;
  std::vector<std::thread> workers_;
};

/// Denormals are flushed to zero on this thread from now on: the recurrence's fading states would otherwise slow every
/// multiplication they meet a hundredfold.
void flush_denormals();

}  // namespace mmrec
