#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "bench/harness/case.h"
#include "bench/tune/log.h"

namespace mmrec::tune {

/// A call with its operands in memory, on which kernels race.
class Contest {
 public:
  Contest(const Call& call, uint64_t seed);

  /// Races kernels. The first `staying` kernels (at least one) are never dropped. If other programs
  /// ran meanwhile, repeats the race a few times, while in_time(), and returns the least disturbed
  /// one.
  std::vector<RaceResult> race(
      std::span<const KernelEntry* const> kernels, size_t staying, const Racing& racing,
      const std::function<bool()>& in_time = [] { return true; }) const;

 private:
  bench::Workload work_;
  bench::Prepared call_;
};

}  // namespace mmrec::tune
