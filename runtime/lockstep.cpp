#include "runtime/lockstep.h"

#include <sched.h>

#include "runtime/executor.h"
#include "runtime/trace.h"

namespace mmrec::detail {

namespace {
// Some microseconds: several times the spread of the parts' ends when all threads are running.
constexpr int kBriefly = 200;
// Spins before sched_yield, as in thread_pool.cpp.
constexpr int kSpins = 1000;
}  // namespace

bool Lockstep::wait_briefly(int part, int t) const {
  if (finished(part, t)) return true;
  const TracedWait waiting;
  for (int spins = 0; spins < kBriefly; ++spins) {
    if (finished(part, t)) return true;
    pause_briefly();
  }
  return false;
}

bool Lockstep::wait(int part, int t) const {
  if (finished(part, t)) return true;
  const TracedWait waiting;
  for (int spins = 0; !finished(part, t); ++spins) {
    if (failed_.load(std::memory_order_relaxed)) return false;
    if (spins < kSpins)
      pause_briefly();
    else
      sched_yield();
  }
  return true;
}

}  // namespace mmrec::detail
