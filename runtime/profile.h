#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/kernel_registry.h"

namespace mmrec {

struct Profile;

/// Time and work of a kernel's calls of one shape, collected by dispatch while it is switched on.
struct ProfileRow {
  std::string op, pass, variant, params, level;  // see KernelEntry
  Sizes sizes;
  int64_t calls = 0;
  /// Of wall time. While several calls run beside each other on different threads each gets an equal part of it, so that the
  /// seconds of all rows together are the time in which at least one kernel ran.
  double seconds = 0;
  double call_seconds = 0;  ///< from each call's beginning to its end, whatever ran beside it
  double flops = 0;
};

// The profile of the current context (context.h).
void set_profiling(bool on);
bool profiling();
/// The rows since the last reset, the longest first.
std::vector<ProfileRow> profile_rows();
void reset_profile();

/// For dispatch: a call that begins and ends with this, recorded if profiling is on when it begins.
class ProfiledCall {
 public:
  ProfiledCall(const KernelEntry& kernel, const CallInfo& info);
  ~ProfiledCall();
  ProfiledCall(const ProfiledCall&) = delete;
  ProfiledCall& operator=(const ProfiledCall&) = delete;

 private:
  Profile& profile_;
  const KernelEntry& kernel_;
  const CallInfo& info_;
  const bool timed_;
  double begin_ = 0, shared_begin_ = 0;
};

}  // namespace mmrec
