#include "runtime/profile.h"

#include <fmt/format.h>

#include <algorithm>
#include <mutex>
#include <utility>

#include "generators/registry/instance.h"
#include "runtime/context_parts.h"
#include "runtime/thread_state.h"
#include "runtime/trace.h"

namespace mmrec {

void Profile::Clock::advance() {
  const double time = trace_clock();
  if (running > 0) shared += (time - now) / running;
  now = time;
}

std::string kernel_label(const std::string& op, const std::string& pass, const std::string& dtype,
                         const std::string& variant) {
  return fmt::format("{} ({})", registry::pass_string({op, pass, {}, dtype}), variant);
}

void set_profiling(bool on) {
  if (on)
    Profile::current().kept |= Profile::kSums;
  else
    Profile::current().kept &= ~Profile::kSums;
}

bool profiling() { return Profile::current().keeps(Profile::kSums); }

std::vector<ProfileRow> profile_rows() {
  Profile& p = Profile::current();
  std::lock_guard lock(p.mutex);
  std::vector<ProfileRow> sorted = p.rows;
  std::sort(sorted.begin(), sorted.end(),
            [](const ProfileRow& a, const ProfileRow& b) { return a.seconds > b.seconds; });
  return sorted;
}

void reset_profile() {
  Profile& p = Profile::current();
  std::lock_guard lock(p.mutex);
  p.rows.clear();
}

ProfiledCall::ProfiledCall(const KernelEntry& kernel, const CallInfo& info)
    : profile_(Profile::current()),
      kernel_(kernel),
      info_(info),
      kept_(profile_.kept.load(std::memory_order_relaxed)) {
  if (kept_ == 0) return;
  outer_ = std::exchange(thread_state.kernel, &kernel_);
  std::lock_guard lock(profile_.mutex);
  profile_.clock.advance();
  ++profile_.clock.running;
  begin_ = profile_.clock.now;
  shared_begin_ = profile_.clock.shared;
}

ProfiledCall::~ProfiledCall() {
  if (kept_ == 0) return;
  thread_state.kernel = outer_;
  std::lock_guard lock(profile_.mutex);
  profile_.clock.advance();
  --profile_.clock.running;
  if (kept_ & Profile::kSums) add_to_sums();
  if (kept_ & Profile::kEvents)
    profile_.events.push_back({.kind = TraceEvent::Kind::kKernel,
                               .thread = trace_thread(),
                               .begin = begin_,
                               .end = profile_.clock.now,
                               .kernel = &kernel_,
                               .sizes = info_.sizes,
                               .flops = info_.flops});
}

void ProfiledCall::add_to_sums() {
  std::vector<ProfileRow>& rows = profile_.rows;
  const KernelEntry& k = kernel_;
  auto row = std::find_if(rows.begin(), rows.end(), [&](const ProfileRow& r) {
    return r.sizes == info_.sizes && r.op == k.op && r.pass == k.pass && r.variant == k.variant &&
           r.dtype == k.dtype && r.params == k.params;
  });
  if (row == rows.end())
    row = rows.insert(rows.end(),
                      ProfileRow{k.op, k.pass, k.variant, k.dtype, k.params, k.level, info_.sizes});
  ++row->calls;
  row->seconds += profile_.clock.shared - shared_begin_;
  row->call_seconds += profile_.clock.now - begin_;
  row->flops += info_.flops;
}

}  // namespace mmrec
