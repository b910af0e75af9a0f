#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace mmrec {

/// The learning rate of each step. Over `warmup` steps it rises linearly from 0.1 * peak (step 1) to the peak, which step
/// warmup + 1 is the first to have; from there half a cosine takes it to `minimum` at the last step.
struct LearningRate {
  double peak = 3e-4;
  double minimum = 3e-5;
  int64_t warmup = 100;
  int64_t steps = 1;  ///< of the whole run

  /// step from 1; beyond the last step it stays at the minimum.
  double at(int64_t step) const;
  /// "warm-up of 37 steps to 3.00e-04, then down to 3.00e-05".
  std::string describe() const;
  /// What to say of a warm-up that is not shorter than the run; "" of another.
  std::string warning() const;
};

/// `--lr-min`: a part of the peak ("0.1x") or a rate ("3e-5"), from 0 to the peak. Throws a UsageError for anything else.
double parse_minimum_rate(std::string_view text, double peak);

}  // namespace mmrec
