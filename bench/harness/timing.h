#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bench/harness/case.h"
#include "bench/harness/machine_peak.h"
#include "bench/harness/race.h"

namespace mmrec::bench {

/// Warm-up before the first sample of a row.
constexpr double kWarmUpSeconds = 0.02;

/// A timed row.
struct Result {
  Case row;
  Timing timing;
  bool dispatched;                      ///< whether a call without forced kernels gets this variant
  double other_load;                    ///< cores that other programs used meanwhile
  std::string params = {}, level = {};  ///< of its kernel; see KernelEntry
};

/// Returns the mean time of `calls` calls, in seconds per call.
double time_calls(const Prepared& call, int64_t calls);

/// The same with the kernels' profile on, which then holds these calls alone (runtime/profile.h).
double time_profiled_calls(const Prepared& call, int64_t calls);

/// Times the rows of one group in turn with many short samples, so that a disturbance hits all rows
/// alike. `seconds` is the measuring time per row. If other programs run meanwhile, repeats the
/// measurement a few times and keeps the least disturbed one. Rows of the same workload share its
/// arrays.
std::vector<Result> time_in_turn(const std::vector<Case>& rows, double seconds, uint64_t seed,
                                 Caches caches = Caches::kWarm);

/// The rate of a workload that takes `seconds` per call, and its part of the machine's limit: the
/// lower bound of the time divided by `seconds`. The lower bound is the longer of two times:
/// operations at the multiply-add peak of the workload's precision, bytes at the copy peak. The
/// part exceeds 1 if the caches hold the data.
struct Rate {
  Rate(const Workload& work, double seconds, const Peak& peak);
  double flops, bytes;  ///< per second
  bool arithmetic;      ///< whether operations, and not bytes, are the limit
  double part_of_peak;

  /// The limiting rate as text: "231.4 GFLOP/s".
  std::string string() const;
};

}  // namespace mmrec::bench
