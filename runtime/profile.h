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

/// Returns "gemm.nt (packed)", with an element type other than f32 "gemm.nt bf16 (packed)".
std::string kernel_label(const std::string& op, const std::string& pass, const std::string& dtype,
                         const std::string& variant);

// The profile of the current context (context.h).
void set_profiling(bool on);
bool profiling();
/// Returns the rows since the last reset, sorted by seconds in descending order.
std::vector<ProfileRow> profile_rows();
void reset_profile();

/// For dispatch. Records one call that lasts as long as this object, if the profile or a Trace
/// (trace.h) is on at its construction.
class ProfiledCall {
 public:
  ProfiledCall(const KernelEntry& kernel, const CallInfo& info);
  ~ProfiledCall();
  ProfiledCall(const ProfiledCall&) = delete;
  ProfiledCall& operator=(const ProfiledCall&) = delete;

 private:
  /// Adds the call to the profile's row of its kernel and shape.
  void add_to_sums();

  Profile& profile_;
  const KernelEntry& kernel_;
  const CallInfo& info_;
  const int kept_;  // Profile::Kept
  const KernelEntry* outer_ = nullptr;
  double begin_ = 0, shared_begin_ = 0;
};

}  // namespace mmrec
