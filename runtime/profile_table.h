#pragma once

#include <string>

namespace mmrec {

/// What the kernels' profile holds (runtime/profile.h) as a table: for each pass of an operation its calls, milliseconds of wall time,
/// how long a call takes, GFLOP/s and share of `seconds`, the wall time of the whole; then what no kernel accounts for. Shares
/// sum to 100 %: what ran beside each other has divided its time.
std::string profile_table(double seconds);

}  // namespace mmrec
