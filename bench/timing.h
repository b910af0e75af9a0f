#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bench/case.h"
#include "bench/machine_peak.h"

namespace mmrec::bench {

/// Long enough for the first time that a row runs.
constexpr double kWarmUpSeconds = 0.02;

/// Seconds of one call.
struct Timing {
  double best = 0, median = 0;
};

/// A row that has been timed.
struct Result {
  Case row;
  Timing timing;
  bool dispatched;  ///< whether this is the variant that a call gets where nothing is forced
};

/// Times rows of one group in turn, a short sample of each again and again, so that what disturbs the machine disturbs all of
/// them; `seconds` is how long each is measured for. Rows of the same workload share its arrays.
std::vector<Result> time_in_turn(const std::vector<Case>& rows, double seconds, uint64_t seed);

/// A row's counted work over `seconds` a call, for people ("231.4 GFLOP/s"), and its part of the peak, 0 .. 1 and above where
/// the caches hold what is copied.
struct Rate {
  Rate(const Workload& work, double seconds, const Peak& peak);
  double value;  ///< in units of 10^9 a second
  const char* unit;
  double part_of_peak;
};

}  // namespace mmrec::bench
