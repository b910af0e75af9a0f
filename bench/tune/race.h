#pragma once

#include <functional>
#include <span>
#include <vector>

#include "bench/tune/log.h"

namespace mmrec::tune {

/// What is timed against others.
struct Contestant {
  std::function<double()> sample;  ///< takes one: seconds of a call
  bool stays = false;              ///< is never dropped: the incumbent, and what all races share
};

struct Racing {
  int times = 1;       ///< that a sample is taken, to keep the best
  int rounds = 25;     ///< samples of each that stays to the end
  int early = 5;       ///< samples after which the hopeless are dropped
  double drop = 1.25;  ///< those above this many times the best
  double seconds = 2;  ///< no new round begins later than this, once there are `early` ones
};

/// What a race says of a contestant.
struct Run {
  std::vector<double> samples;  ///< in the order of the rounds
  bool dropped = false;
};

/// Samples of all in turn, round by round, each round beginning with another one.
std::vector<Run> race(const std::vector<Contestant>& contestants, const Racing& racing);

double median(std::vector<double> values);
/// The median absolute deviation from the median.
double median_deviation(std::vector<double> values);
Seconds summary(const std::vector<double>& samples);

/// Whether the challenger is faster than the incumbent by more than kLeastGain and by more than three median deviations of the
/// differences between samples of the same round. What slows a round down slows both.
bool beats(std::span<const double> challenger, std::span<const double> incumbent);

}  // namespace mmrec::tune
