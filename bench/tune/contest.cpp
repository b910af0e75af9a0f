#include "bench/tune/contest.h"

#include <algorithm>
#include <cmath>

#include "bench/harness/timing.h"
#include "bench/tune/builds.h"
#include "bench/workloads/workloads.h"

namespace mmrec::tune {

namespace {

constexpr double kSampleSeconds = 0.7e-3;  // long against the clock's resolution, short against
                                           // what disturbs; a slice's best counts
constexpr double kSettleSeconds = 0.2e-3;  // for the caches after the others' samples,
constexpr double kLongCall = 5e-3;         // but for calls in which that is lost

}  // namespace

Contest::Contest(const Call& call, uint64_t seed)
    : work_(bench::workload_of(call.op, call.pass, sizes_of(call))), call_(work_, seed) {}

std::vector<RaceResult> Contest::race(std::span<const KernelEntry* const> kernels, size_t staying,
                                      const Racing& racing,
                                      const std::function<bool()>& in_time) const {
  std::vector<Contestant> contestants;
  for (const KernelEntry* kernel : kernels) {
    const ScopedKernel forced(*kernel);
    call_.warm_up(kSettleSeconds);
    const double once = std::min(bench::time_calls(call_, 1), bench::time_calls(call_, 1));
    const auto calls = static_cast<int64_t>(std::ceil(kSampleSeconds / once));
    const auto times =
        std::max<int64_t>(1, std::llround(racing.slice / (once * static_cast<double>(calls))));
    const bool settles = once < kLongCall;
    const auto sample = [this, kernel, calls, times, settles] {
      const ScopedKernel in_turn(*kernel);
      if (settles) call_.warm_up(kSettleSeconds);
      double best = INFINITY;
      for (int64_t i = 0; i < times; ++i) best = std::min(best, bench::time_calls(call_, calls));
      return best;
    };
    contestants.push_back({sample, contestants.size() < staying});
  }
  return bench::race_quietly(contestants, racing, in_time).results;
}

}  // namespace mmrec::tune
