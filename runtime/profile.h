#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/kernel_registry.h"

namespace mmrec {

struct Profile;

/// Time and work of all calls of one kernel with one shape. Dispatch records them while profiling
/// is on.
struct ProfileRow {
  std::string op, pass, variant, dtype, params, level;  // see KernelEntry
  Sizes sizes;
  int64_t calls = 0;
  /// Wall time. Calls that run at the same time on different threads get equal shares of it, so the
  /// sum over all rows is the time in which at least one kernel ran.
  double seconds = 0;
  double call_seconds = 0;  ///< sum of each call's duration, without sharing
  double flops = 0;
};

// The profile of the current context (context.h).
void set_profiling(bool on);
bool profiling();
/// Returns the rows since the last reset, sorted by seconds in descending order.
std::vector<ProfileRow> profile_rows();
void reset_profile();

/// For dispatch. Records one call that lasts as long as this object, if profiling is on at its
/// construction.
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
