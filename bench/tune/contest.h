#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "bench/harness/case.h"
#include "bench/tune/log.h"

namespace mmrec::tune {

/// A call with its operands in memory, for kernels to run against each other.
class Contest {
 public:
  Contest(const Call& call, uint64_t seed);

  /// Races kernels; the first `staying`, one at least, are never dropped. When other programs run
  /// meanwhile it is run again, a few times at the most and only while there is time for that, and
  /// the quietest one counts.
  std::vector<RaceResult> race(
      std::span<const KernelEntry* const> kernels, size_t staying, const Racing& racing,
      const std::function<bool()>& in_time = [] { return true; }) const;

 private:
  bench::Workload work_;
  bench::Prepared call_;
};

}  // namespace mmrec::tune
