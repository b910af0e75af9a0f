#pragma once

#include <algorithm>
#include <array>
#include <atomic>

#include "runtime/threads.h"

namespace mmrec {

namespace detail {

/// How far one part of a lockstep loop has come.
struct PartProgress {
  alignas(64) std::atomic<int> claimed{0};  // steps that somebody has begun; a line of its own, which others rarely look at
  alignas(64) std::atomic<int> done{0};     // steps whose results may be read
};

/// The parts of one team.
class Lockstep {
 public:
  static constexpr int kMaxParts = 16;

  /// Step t of a part, if nobody has begun it.
  bool claim(int part, int t) { return parts_[part].claimed.compare_exchange_strong(t, t + 1, std::memory_order_relaxed); }
  void finish(int part, int t) { parts_[part].done.store(t + 1, std::memory_order_release); }
  bool finished(int part, int t) const { return parts_[part].done.load(std::memory_order_acquire) > t; }
  /// A little while for step t of a part to end; whether it has.
  bool wait_briefly(int part, int t) const;
  /// Until step t of a part, which somebody has begun, has ended or failed; false if anything has failed.
  bool wait(int part, int t) const;
  void fail() { failed_.store(true, std::memory_order_relaxed); }

 private:
  std::array<PartProgress, kMaxParts> parts_;
  std::atomic<bool> failed_{false};
};

}  // namespace detail

/// For t = 0 .. steps-1, every part's step t, then every part's step t + 1: what is sequential in t, and in each t has work for
/// several threads of a microsecond or less. make(part) returns the callable whose (t) does a step of that part; it is made anew
/// wherever the part runs. Part p stays on one thread as long as that comes in time, so that what p reads in every step stays
/// in that core's cache. A thread that does not come (the system has taken it off its core) is not waited for: others take its
/// part's steps over. Parts are to be at most max_lockstep_parts().
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
      std::array<bool, detail::Lockstep::kMaxParts> absent{};  // parts whose last step this thread had to do
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
