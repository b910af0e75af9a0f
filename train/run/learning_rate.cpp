#include "train/run/learning_rate.h"

#include <algorithm>
#include <numbers>

#include "support/counted.h"
#include "support/error.h"
#include "support/parse_number.h"
#include "support/same_bits_math.h"

namespace mmrec {

double LearningRate::at(int64_t step) const {
  constexpr double kWarmupStart = 0.1;
  const double done = static_cast<double>(step - 1);
  if (step <= warmup)
    return peak * (kWarmupStart + (1 - kWarmupStart) * done / static_cast<double>(warmup));
  const double decay_steps = static_cast<double>(std::max<int64_t>(steps - 1 - warmup, 1));
  const double progress = std::min((done - static_cast<double>(warmup)) / decay_steps, 1.0);
  const double cosine = same_bits::sine_and_cosine(std::numbers::pi * progress).cosine;
  return minimum + (peak - minimum) * 0.5 * (1 + cosine);
}

std::string LearningRate::describe() const {
  if (warmup == 0) return fmt::format("no warm-up, from {:.2e} down to {:.2e}", peak, minimum);
  return fmt::format("warm-up of {} to {:.2e}, then down to {:.2e}", counted(warmup, "step"), peak,
                     minimum);
}

std::string LearningRate::warning() const {
  if (warmup < steps) return "";
  return fmt::format(
      "the warm-up of {} steps fills the run of {}: the learning rate ends at {:.2e} and never "
      "comes to its peak of {:.2e}; a "
      "shorter --warmup or more --steps help",
      warmup, steps, at(steps), peak);
}

double parse_minimum_rate(std::string_view text, std::optional<double> peak) {
  const bool relative = text.ends_with('x');
  const double limit = peak.value_or(1);
  const std::optional<double> value =
      parse_number<double>(text.substr(0, text.size() - (relative ? 1 : 0)));
  const double rate = value.value_or(-1) * (relative ? limit : 1);
  // The peak was a float: --lr 5e-3 --lr-min 5e-3 are equal. What is too large for one is larger.
  if (!(rate >= 0 && static_cast<float>(std::min(rate, 2 * limit)) <= static_cast<float>(limit)))
    fail_usage(
        "a minimum learning rate of '{}' makes no sense; give a part of the peak such as 0.1x, or "
        "a rate from 0 to the peak{}",
        text, peak ? fmt::format(" of {}", static_cast<float>(*peak)) : "");
  return std::min(rate, limit);
}

}  // namespace mmrec
