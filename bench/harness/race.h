#pragma once

#include <functional>
#include <span>
#include <vector>

namespace mmrec::bench {

/// Seconds of a call.
struct Timing {
  double best = 0, median = 0;
  double mad = 0;  ///< the samples' median absolute deviation from the median
};

/// What a winner must save of the incumbent's time.
constexpr double kLeastGain = 0.02;

/// What is timed against others.
struct Contestant {
  std::function<double()> sample;  ///< takes one: seconds of a call
  bool stays = false;              ///< is never dropped: the incumbent, and what all races share
};

/// What a race says of a contestant.
struct RaceResult {
  std::vector<double> samples;  ///< in the order of the rounds
  bool dropped = false;
};

struct Racing {
  double slice = 1.4e-3;  ///< seconds of a sample, or one call where that takes longer
  int rounds = 25;        ///< samples of each that stays to the end
  int early = 5;          ///< samples after which the hopeless are dropped
  double drop = 1.25;     ///< those above this many times the best
  double seconds = 2;     ///< no new round begins later than this, once there are `early` ones
  /// Asked after each round: whether that is enough.
  std::function<bool(const std::vector<RaceResult>&)> decided = [](const std::vector<RaceResult>&) {
    return false;
  };
};

/// Samples of all in turn, round by round, each round beginning with another one. The first
/// contestant has to stay: the others are compared by their ratios to it.
std::vector<RaceResult> race(const std::vector<Contestant>& contestants, const Racing& racing);

/// Runs a race again, a few times at the most and while `in_time`, when other programs ran
/// meanwhile; returns the result of the quietest time and the cores that others took then.
struct Quietest {
  std::vector<RaceResult> results;
  double other_load;
};
Quietest race_quietly(
    const std::vector<Contestant>& contestants, const Racing& racing,
    const std::function<bool()>& in_time = [] { return true; });

double median(std::vector<double> values);
/// The median absolute deviation from the median.
double median_deviation(std::vector<double> values);
Timing summary(const std::vector<double>& samples);

/// The median of the ratios of samples of the same round: what slows a round down slows both.
double relative(const RaceResult& run, const RaceResult& base);

enum class Outcome {
  kOpen,
  kFaster,     ///< by more than kLeastGain, and surely by more than half of that
  kNotFaster,  ///< surely not by kLeastGain
};
/// What the samples of the same rounds say of a challenger. `Surely` is three standard errors of
/// the median of the gains away, the error estimated from their median deviation; before sixteen
/// rounds nothing is sure.
Outcome outcome(const RaceResult& challenger, const RaceResult& incumbent);

}  // namespace mmrec::bench
