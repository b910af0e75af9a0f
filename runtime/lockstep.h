#pragma once

#include <algorithm>
#include <array>
#include <atomic>

#include "runtime/threads.h"

namespace mmrec {

namespace detail {

/// Progress of one part of a lockstep loop.
struct PartProgress {
  // Steps that a thread has begun. On a cache line of its own: other threads rarely read it.
  alignas(64) std::atomic<int> claimed{0};
  alignas(64) std::atomic<int> done{0};  // steps whose results may be read
};

/// Shared state of all parts of one lockstep loop.
class Lockstep {
 public:
  static constexpr int kMaxParts = 16;

  /// Claims step t of a part for the calling thread. Returns false if another thread has begun it.
  bool claim(int part, int t) {
    return parts_[part].claimed.compare_exchange_strong(t, t + 1, std::memory_order_relaxed);
  }
  void finish(int part, int t) { parts_[part].done.store(t + 1, std::memory_order_release); }
  bool finished(int part, int t) const {
    return parts_[part].done.load(std::memory_order_acquire) > t;
  }
  /// Waits some microseconds for the end of step t of a part. Returns whether the step has ended.
  bool wait_briefly(int part, int t) const;
  /// Waits until a claimed step t of a part has ended. Returns false if any step of the loop has
  /// failed.
  bool wait(int part, int t) const;
  void fail() { failed_.store(true, std::memory_order_relaxed); }

 private:
  std::array<PartProgress, kMaxParts> parts_;
  std::atomic<bool> failed_{false};
};

}  // namespace detail

/// Runs step t of every part before step t + 1 of any part, for t = 0 .. steps-1. For loops that
/// are sequential in t and whose steps have a microsecond of work or less for several threads.
///
/// make(part) returns a callable; calling it with t runs one step of that part. Each thread that
/// runs a part makes its own callable. Part p stays on one thread if possible: the data that p
/// reads in every step stays in that core's cache. If the thread of a part is late (the system has
/// taken it off its core), other threads run its steps instead of waiting. `parts` must not exceed
/// max_lockstep_parts().
template <class Make>
void lockstep(int parts, int steps, const Make& make) {
  if (parts == 1) {
    auto step = make(0);
    for (int t = 0; t < steps; ++t) step(t);
    return;
  }
  detail::Lockstep shared;
  parallel_for(parts, [&](int own) {
    try {
      auto step = make(own);
      // parts whose last step this thread ran for a late thread
      std::array<bool, detail::Lockstep::kMaxParts> absent{};
      for (int t = 0; t < steps; ++t) {
        if (shared.claim(own, t)) {
          step(t);
          shared.finish(own, t);
        }
        for (int other = 0; other < parts; ++other) {
          if (other == own || (!absent[other] && shared.wait_briefly(other, t))) continue;
          absent[other] = shared.claim(other, t);
          if (absent[other]) {
            make(other)(t);
            shared.finish(other, t);
          }
        }
        for (int part = 0; part < parts; ++part)
          if (!shared.wait(part, t)) return;
      }
    } catch (...) {
      shared.fail();
      throw;
    }
  });
}

inline int max_lockstep_parts() { return std::min(num_threads(), detail::Lockstep::kMaxParts); }

}  // namespace mmrec
