#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "runtime/executor.h"

namespace mmrec {

/// The executor with threads of its own. They belong to a context; a loop that is called inside an
/// OpenMP region of the program, whose threads have the cores, runs inline.
class ThreadPool final : public Executor {
 public:
  /// Starts `workers` threads beside the caller. If the system refuses to start so many, or their
  /// memory would take most of a limited address space, the pool has fewer.
  explicit ThreadPool(int workers);
  ~ThreadPool() override;

 private:
  // Bit fields of gate_: job number | whether threads may enter the job | threads inside the job.
  static constexpr uint64_t kInside = 1, kOpen = uint64_t{1} << 15, kJob = uint64_t{1} << 16;

  int threads_at_hand() const override;
  void share_out() override;
  void serve(int thread);
  uint64_t next_job(uint64_t last);

  alignas(64) std::atomic<uint64_t> gate_{0};
  std::atomic<uint32_t> bell_{0};  // number of the current job; sleeping threads wait on it
  std::atomic<int> sleeping_{0};
  std::atomic<bool> stopping_{false};
  std::vector<std::thread> workers_;
};

}  // namespace mmrec
