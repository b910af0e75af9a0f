#include "bench/tune/contest.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "bench/harness/other_load.h"
#include "bench/harness/timing.h"
#include "bench/tune/builds.h"
#include "bench/workloads/workloads.h"

namespace mmrec::tune {

namespace {

constexpr double kSampleSeconds = 0.7e-3;  // long against the clock's resolution, short against what disturbs; a slice's best counts
constexpr double kSettleSeconds = 0.2e-3;  // for the caches after the others' samples,
constexpr double kLongCall = 5e-3;         // but for calls in which that is lost
constexpr int kTries = 3;                  // to find the machine quiet

double time_calls(const bench::Prepared& call, int64_t calls) {
  const auto begin = std::chrono::steady_clock::now();
  for (int64_t i = 0; i < calls; ++i) call();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() / static_cast<double>(calls);
}

}  // namespace

Contest::Contest(const Call& call, uint64_t seed) : work_(bench::workload_of(call.op, call.pass, sizes_of(call))), call_(work_, seed) {}

std::vector<RaceResult> Contest::race(std::span<const KernelEntry* const> kernels, size_t staying, const Racing& racing,
                                      const std::function<bool()>& in_time) const {
  std::vector<Contestant> contestants;
  for (const KernelEntry* kernel : kernels) {
    const ScopedKernel forced(*kernel);
    call_.warm_up(kSettleSeconds);
    const double once = std::min(time_calls(call_, 1), time_calls(call_, 1));
    const auto calls = static_cast<int64_t>(std::ceil(kSampleSeconds / once));
    const auto times = std::max<int64_t>(1, std::llround(racing.slice / (once * static_cast<double>(calls))));
    const bool settles = once < kLongCall;
    const auto sample = [this, kernel, calls, times, settles] {
      const ScopedKernel in_turn(*kernel);
      if (settles) call_.warm_up(kSettleSeconds);
      double best = INFINITY;
      for (int64_t i = 0; i < times; ++i) best = std::min(best, time_calls(call_, calls));
      return best;
    };
    contestants.push_back({sample, contestants.size() < staying});
  }
  std::vector<RaceResult> quietest;
  double least_load = INFINITY;
  for (int i = 0; i == 0 || (i < kTries && least_load > bench::kQuiet && in_time()); ++i) {
    const bench::OtherLoad others;
    std::vector<RaceResult> runs = tune::race(contestants, racing);
    if (const double load = others.cores(); load < least_load) {
      least_load = load;
      quietest = std::move(runs);
    }
  }
  return quietest;
}

}  // namespace mmrec::tune
