#include "bench/harness/race.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "bench/harness/other_load.h"
#include "support/error.h"

namespace mmrec::bench {

namespace {

constexpr int kQuietTries = 3;  // attempts to race while other programs are idle
constexpr size_t kLeastRounds = 16;
constexpr double kErrors = 3;
/// Standard error of the median of n samples, in units of (median absolute deviation / sqrt(n)).
/// For a normal distribution the standard error is sqrt(pi / 2) standard deviations / sqrt(n), and
/// a standard deviation is 1.4826 median deviations.
constexpr double kErrorOfMedian = 1.2533 * 1.4826;

std::vector<double> ratios(const RaceResult& run, const RaceResult& base) {
  std::vector<double> ratios;
  for (size_t i = 0; i < std::min(run.samples.size(), base.samples.size()); ++i)
    ratios.push_back(run.samples[i] / base.samples[i]);
  return ratios;
}

}  // namespace

double median(std::vector<double> values) {
  if (values.empty()) fail("there is no median of nothing");
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::ranges::nth_element(values, middle);
  if (values.size() % 2) return *middle;
  return (*middle + *std::max_element(values.begin(), middle)) / 2;
}

double median_deviation(std::vector<double> values) {
  const double center = median(values);
  for (double& value : values) value = std::abs(value - center);
  return median(std::move(values));
}

Timing summary(const std::vector<double>& samples) {
  return {std::ranges::min(samples), median(samples), median_deviation(samples)};
}

double relative(const RaceResult& run, const RaceResult& base) { return median(ratios(run, base)); }

Outcome outcome(const RaceResult& challenger, const RaceResult& incumbent) {
  const std::vector<double> all = ratios(challenger, incumbent);
  if (all.size() < kLeastRounds) return Outcome::kOpen;
  const double gain = 1 - median(all), error = kErrors * kErrorOfMedian * median_deviation(all) /
                                               std::sqrt(static_cast<double>(all.size()));
  if (gain > kLeastGain && gain - error > kLeastGain / 2) return Outcome::kFaster;
  return gain + error < kLeastGain ? Outcome::kNotFaster : Outcome::kOpen;
}

std::vector<RaceResult> race(const std::vector<Contestant>& contestants, const Racing& racing) {
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + std::chrono::duration<double>(racing.seconds);
  std::vector<RaceResult> runs(contestants.size());
  for (int round = 0; round < racing.rounds && (round < racing.early || Clock::now() < end);
       ++round) {
    for (size_t i = 0; i < contestants.size(); ++i) {
      const size_t turn = (i + static_cast<size_t>(round)) % contestants.size();
      if (!runs[turn].dropped) runs[turn].samples.push_back(contestants[turn].sample());
    }
    if (racing.decided(runs)) break;
    if (round + 1 < racing.early) continue;
    std::vector<double> times;
    for (const RaceResult& run : runs) times.push_back(relative(run, runs.front()));
    const double best = std::ranges::min(times);
    for (size_t i = 0; i < runs.size(); ++i)
      if (!contestants[i].stays && times[i] > racing.drop * best) runs[i].dropped = true;
  }
  return runs;
}

Quietest race_quietly(const std::vector<Contestant>& contestants, const Racing& racing,
                      const std::function<bool()>& in_time) {
  Quietest quietest{{}, INFINITY};
  for (int i = 0; i == 0 || (i < kQuietTries && quietest.other_load > kQuiet && in_time()); ++i) {
    const OtherLoad others;
    std::vector<RaceResult> results = race(contestants, racing);
    if (const double load = others.cores(); load < quietest.other_load)
      quietest = {std::move(results), load};
  }
  return quietest;
}

}  // namespace mmrec::bench
