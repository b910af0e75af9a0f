#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace mmrec {

/// Learning rate schedule. Over `warmup` steps the rate rises linearly from 0.1 * peak (step 1);
/// step warmup + 1 is the first at the peak. Half a cosine then takes it to `minimum` at the last
/// step.
struct LearningRate {
  double peak = 3e-4;
  double minimum = 3e-5;
  int64_t warmup = 100;
  int64_t steps = 1;  ///< of the whole run

  /// Returns the rate of a step (from 1). After the last step it stays at the minimum.
  double at(int64_t step) const;
  /// Returns "warm-up of 37 steps to 3.00e-04, then down to 3.00e-05".
  std::string describe() const;
  /// Returns a warning if the warm-up is not shorter than the run, else "".
  std::string warning() const;
};

/// Parses `--lr-min`: a fraction of the peak ("0.1x") or a rate ("3e-5"), from 0 to the peak.
/// Throws a UsageError for anything else. Without a peak, which is not known yet, a rate may be up
/// to 1.
double parse_minimum_rate(std::string_view text, std::optional<double> peak);

}  // namespace mmrec
