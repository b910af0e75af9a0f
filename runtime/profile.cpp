#include "runtime/profile.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>

namespace mmrec {

namespace {

std::atomic<bool> on{false};
std::mutex mutex;
std::vector<ProfileRow> rows;

/// Seconds of wall time, and those that each of the calls now running has had to itself: the integral over time of one over
/// their number. A call's part of the time is by how much the latter grows while it runs.
struct Clock {
  double now = 0, shared = 0;
  int running = 0;

  void advance() {
    const double time = std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
    if (running > 0) shared += (time - now) / running;
    now = time;
  }
} clock;

}  // namespace

void set_profiling(bool value) { on = value; }
bool profiling() { return on.load(std::memory_order_relaxed); }

std::vector<ProfileRow> profile_rows() {
  std::lock_guard lock(mutex);
  std::vector<ProfileRow> sorted = rows;
  std::sort(sorted.begin(), sorted.end(), [](const ProfileRow& a, const ProfileRow& b) { return a.seconds > b.seconds; });
  return sorted;
}

void reset_profile() {
  std::lock_guard lock(mutex);
  rows.clear();
}

ProfiledCall::ProfiledCall(const KernelEntry& kernel, const Work& work) : kernel_(kernel), work_(work), timed_(profiling()) {
  if (!timed_) return;
  std::lock_guard lock(mutex);
  clock.advance();
  ++clock.running;
  begin_ = clock.now;
  shared_begin_ = clock.shared;
}

ProfiledCall::~ProfiledCall() {
  if (!timed_) return;
  std::lock_guard lock(mutex);
  clock.advance();
  --clock.running;
  const KernelEntry& k = kernel_;
  auto row = std::find_if(rows.begin(), rows.end(), [&](const ProfileRow& r) {
    return r.sizes == work_.sizes && r.op == k.op && r.pass == k.pass && r.variant == k.variant && r.params == k.params;
  });
  if (row == rows.end()) row = rows.insert(rows.end(), ProfileRow{k.op, k.pass, k.variant, k.params, k.level, work_.sizes});
  ++row->calls;
  row->seconds += clock.shared - shared_begin_;
  row->call_seconds += clock.now - begin_;
  row->flops += work_.flops;
}

}  // namespace mmrec
