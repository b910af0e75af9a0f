#pragma once

#include <string>

namespace mmrec {

/// What the kernels' profile holds (runtime/profile.h) as a table: for each pass of an operation its calls, milliseconds,
/// GFLOP/s and share of `seconds`, the wall time of the whole; what no kernel accounts for is the last row.
std::string profile_table(double seconds);

}  // namespace mmrec
