#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bench/harness/case.h"
#include "bench/harness/machine_peak.h"
#include "bench/harness/race.h"

namespace mmrec::bench {

/// Long enough for the first time that a row runs.
constexpr double kWarmUpSeconds = 0.02;

/// A row that has been timed.
struct Result {
  Case row;
  Timing timing;
  bool dispatched;    ///< whether this is the variant that a call gets where nothing is forced
  double other_load;  ///< cores that other programs took meanwhile
  std::string params = {}, level = {};  ///< of its kernel, see KernelEntry
};

/// Seconds of a call, the mean of so many.
double time_calls(const Prepared& call, int64_t calls);

/// Times rows of one group in turn, a short sample of each again and again, so that what disturbs
/// the machine disturbs all of them; `seconds` is how long each is measured for. Where other
/// programs run meanwhile, that is tried again a few times and the quietest one counts. Rows of the
/// same workload share its arrays.
std::vector<Result> time_in_turn(const std::vector<Case>& rows, double seconds, uint64_t seed);

/// A row's work over `seconds` a call, and its part of the machine's limit: the longer of the times
/// that its operations take at the peak of multiply-adds and its bytes at that of copies, over
/// `seconds`. Above 1 where caches hold what would be copied.
struct Rate {
  Rate(const Workload& work, double seconds, const Peak& peak);
  double flops, bytes;  ///< a second
  bool arithmetic;      ///< which of the two is the limit
  double part_of_peak;

  /// The limiting one for people: "231.4 GFLOP/s".
  std::string string() const;
};

}  // namespace mmrec::bench
