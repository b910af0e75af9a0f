#include "bench/tune/race.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "bench/tune/derive.h"
#include "runtime/error.h"

namespace mmrec::tune {

namespace {

constexpr double kDeviations = 3;

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

Seconds summary(const std::vector<double>& samples) { return {std::ranges::min(samples), median(samples), median_deviation(samples)}; }

bool beats(std::span<const double> challenger, std::span<const double> incumbent) {
  const size_t rounds = std::min(challenger.size(), incumbent.size());
  std::vector<double> gains;
  for (size_t i = 0; i < rounds; ++i) gains.push_back(incumbent[i] - challenger[i]);
  const double gain = median(gains);
  return gain > kLeastGain * median({incumbent.begin(), incumbent.end()}) && gain > kDeviations * median_deviation(gains);
}

std::vector<Run> race(const std::vector<Contestant>& contestants, const Racing& racing) {
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + std::chrono::duration<double>(racing.seconds);
  std::vector<Run> runs(contestants.size());
  for (int round = 0; round < racing.rounds && (round < racing.early || Clock::now() < end); ++round) {
    for (size_t i = 0; i < contestants.size(); ++i) {
      const size_t turn = (i + static_cast<size_t>(round)) % contestants.size();
      if (!runs[turn].dropped) runs[turn].samples.push_back(contestants[turn].sample());
    }
    if (round + 1 < racing.early) continue;
    std::vector<double> medians;
    for (const Run& run : runs) medians.push_back(median(run.samples));
    const double best = std::ranges::min(medians);
    for (size_t i = 0; i < runs.size(); ++i)
      if (!contestants[i].stays && medians[i] > racing.drop * best) runs[i].dropped = true;
  }
  return runs;
}

}  // namespace mmrec::tune
