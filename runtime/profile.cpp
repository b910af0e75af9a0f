#include "runtime/profile.h"

#include <algorithm>
#include <atomic>
#include <mutex>

#include "runtime/thread_pool.h"
#include "runtime/threads.h"

namespace mmrec {

namespace {
std::atomic<bool> on{false};
std::mutex mutex;
std::vector<ProfileRow> rows;
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

void record_call(const KernelEntry& k, const Work& work, double seconds) {
  std::lock_guard lock(mutex);
  auto row = std::find_if(rows.begin(), rows.end(), [&](const ProfileRow& r) {
    return r.sizes == work.sizes && r.op == k.op && r.pass == k.pass && r.variant == k.variant && r.params == k.params;
  });
  if (row == rows.end()) row = rows.insert(rows.end(), ProfileRow{k.op, k.pass, k.variant, k.params, k.level, work.sizes});
  ++row->calls;
  row->seconds += inside_parallel_loop() ? seconds / num_threads() : seconds;
  row->flops += work.flops;
}

}  // namespace mmrec
