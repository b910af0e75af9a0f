#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/kernel_registry.h"

namespace mmrec {

/// Time and work of a kernel's calls of one shape, collected by dispatch while it is switched on.
struct ProfileRow {
  std::string op, pass, variant, params, level;  // see KernelEntry
  Sizes sizes;
  int64_t calls = 0;
  double seconds = 0;  // of wall time; a call inside a parallel loop counts as one thread's share of it
  double flops = 0;
};

void set_profiling(bool on);
bool profiling();
/// The rows since the last reset, the longest first.
std::vector<ProfileRow> profile_rows();
void reset_profile();
/// For dispatch: adds one call.
void record_call(const KernelEntry& kernel, const Work& work, double seconds);

}  // namespace mmrec
