#include "bench/tune/contest.h"

#include <algorithm>
#include <cmath>

#include "bench/harness/timing.h"
#include "bench/tune/builds.h"
#include "bench/workloads/workloads.h"

namespace mmrec::tune {

namespace {

// Long compared with the clock's resolution, short compared with typical disturbances. The best
// sample of a slice counts.
constexpr double kSampleSeconds = 0.7e-3;
// Warm-up after the other contestants' samples, for code and scratch memory. Calls longer than
// kLongCall need none.
constexpr double kSettleSeconds = 0.2e-3;
constexpr double kLongCall = 5e-3;

}  // namespace

Contest::Contest(const Call& call, uint64_t seed)
    : work_(bench::workload_of(call.op, call.pass, sizes_of(call), call.dtype)),
      call_(work_, seed, bench::Caches::kCold) {}

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
