#include "runtime/profile.h"

#include <algorithm>
#include <chrono>
#include <mutex>

#include "runtime/context_parts.h"

namespace mmrec {

namespace {
Profile& profile() { return Context::current().parts().profile; }
}  // namespace

void Profile::Clock::advance() {
  const double time =
      std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  if (running > 0) shared += (time - now) / running;
  now = time;
}

void set_profiling(bool value) { profile().on = value; }
bool profiling() { return profile().on.load(std::memory_order_relaxed); }

std::vector<ProfileRow> profile_rows() {
  Profile& p = profile();
  std::lock_guard lock(p.mutex);
  std::vector<ProfileRow> sorted = p.rows;
  std::sort(sorted.begin(), sorted.end(),
            [](const ProfileRow& a, const ProfileRow& b) { return a.seconds > b.seconds; });
  return sorted;
}

void reset_profile() {
  Profile& p = profile();
  std::lock_guard lock(p.mutex);
  p.rows.clear();
}

ProfiledCall::ProfiledCall(const KernelEntry& kernel, const CallInfo& info)
    : profile_(profile()),
      kernel_(kernel),
      info_(info),
      timed_(profile_.on.load(std::memory_order_relaxed)) {
  if (!timed_) return;
  std::lock_guard lock(profile_.mutex);
  profile_.clock.advance();
  ++profile_.clock.running;
  begin_ = profile_.clock.now;
  shared_begin_ = profile_.clock.shared;
}

ProfiledCall::~ProfiledCall() {
  if (!timed_) return;
  Profile& p = profile_;
  std::lock_guard lock(p.mutex);
  p.clock.advance();
  --p.clock.running;
  const KernelEntry& k = kernel_;
  auto row = std::find_if(p.rows.begin(), p.rows.end(), [&](const ProfileRow& r) {
    return r.sizes == info_.sizes && r.op == k.op && r.pass == k.pass && r.variant == k.variant &&
           r.dtype == k.dtype && r.params == k.params;
  });
  if (row == p.rows.end())
    row = p.rows.insert(
        p.rows.end(), ProfileRow{k.op, k.pass, k.variant, k.dtype, k.params, k.level, info_.sizes});
  ++row->calls;
  row->seconds += p.clock.shared - shared_begin_;
  row->call_seconds += p.clock.now - begin_;
  row->flops += info_.flops;
}

}  // namespace mmrec
