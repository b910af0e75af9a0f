#pragma once

#include <string>

namespace mmrec {

/// Formats the kernel profile (runtime/profile.h) as a table. One row per pass of an operation:
/// calls, wall time in ms, us a call, GFLOP/s and its share of `seconds`, the total wall time. The
/// last rows are the time outside kernels and the total. Shares sum to 100 %: concurrent calls
/// divide their time.
std::string profile_table(double seconds);

}  // namespace mmrec
