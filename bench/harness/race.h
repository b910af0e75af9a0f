#pragma once

#include <functional>
#include <span>
#include <vector>

namespace mmrec::bench {

/// Times of a call, in seconds.
struct Timing {
  double best = 0, median = 0;
  double mad = 0;  ///< median absolute deviation of the samples from the median
};

/// A winner must save at least this part of the incumbent's time.
constexpr double kLeastGain = 0.02;

/// A contestant of a race.
struct Contestant {
  std::function<double()> sample;  ///< takes one sample: seconds per call
  bool stays = false;  ///< never dropped: the incumbent, and the common base of all races
};

/// The result of a race for one contestant.
struct RaceResult {
  std::vector<double> samples;  ///< in the order of the rounds
  bool dropped = false;
};

struct Racing {
  /// Seconds per sample. A sample is at least one call.
  double slice = 1.4e-3;
  int rounds = 25;     ///< samples of each contestant that is not dropped
  int early = 5;       ///< slow contestants are dropped from this round on
  double drop = 1.25;  ///< drop contestants above this multiple of the best time
  /// No new round begins after this time, except the first `early` rounds.
  double seconds = 2;
  /// Called after each round. Returns true to end the race.
  std::function<bool(const std::vector<RaceResult>&)> decided = [](const std::vector<RaceResult>&) {
    return false;
  };
};

/// Takes samples of all contestants in turn, round by round; each round begins with another
/// contestant. The first contestant must have `stays` set: the others are compared by their ratios
/// to it.
std::vector<RaceResult> race(const std::vector<Contestant>& contestants, const Racing& racing);

/// Runs a race. If other programs ran meanwhile, repeats it, three times in total at most and only
/// while in_time(). Returns the results of the attempt with the least load, and that load in cores.
struct Quietest {
  std::vector<RaceResult> results;
  double other_load;
};
Quietest race_quietly(
    const std::vector<Contestant>& contestants, const Racing& racing,
    const std::function<bool()>& in_time = [] { return true; });

double median(std::vector<double> values);
/// Returns the median absolute deviation from the median.
double median_deviation(std::vector<double> values);
Timing summary(const std::vector<double>& samples);

/// Returns the median of the ratios of samples from the same round. A disturbance in a round slows
/// both samples, so it cancels out.
double relative(const RaceResult& run, const RaceResult& base);

enum class Outcome {
  kOpen,
  kFaster,     ///< by more than kLeastGain; surely by more than half of it
  kNotFaster,  ///< surely not by kLeastGain
};
/// Compares a challenger with an incumbent, by the ratios of samples from the same rounds. "Surely"
/// means three standard errors of the median, estimated from the median deviation. Returns kOpen
/// for fewer than sixteen rounds.
Outcome outcome(const RaceResult& challenger, const RaceResult& incumbent);

}  // namespace mmrec::bench
