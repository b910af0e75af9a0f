#include "support/plot_axis.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace mmrec {

namespace {

/// Clamps a value so that differences of two such values stay finite.
double drawable(double value) {
  constexpr double kLargest = 1e307;
  return std::clamp(value, -kLargest, kLargest);
}

}  // namespace

PlotAxis::PlotAxis(double low, double high, double length, Scale scale)
    : low_(drawable(low)), high_(drawable(high)), length_(length), scale_(scale) {
  if (low_ < high_) return;
  const double margin =
      scale == Scale::kLogarithmic || std::abs(low_) >= std::numeric_limits<double>::min()
          ? std::abs(low_) / 10
          : 1;
  low_ -= margin;
  high_ = low_ + 2 * margin;
}

double PlotAxis::on_scale(double value) const {
  return scale_ == Scale::kLogarithmic ? std::log10(drawable(value)) : drawable(value);
}

double PlotAxis::place(double value) const {
  return (on_scale(value) - on_scale(low_)) / (on_scale(high_) - on_scale(low_)) * length_;
}

std::vector<double> PlotAxis::ticks(int at_most) const {
  std::vector<double> best;
  const auto try_ticks = [&](std::vector<double> ticks) {
    if (std::ssize(ticks) <= at_most && ticks.size() > best.size()) best = std::move(ticks);
  };
  if (scale_ == Scale::kLogarithmic) {
    constexpr double kBelow = 1 - 1e-9, kAbove = 1 + 1e-9;  // rounding must not lose an end
    const int first = static_cast<int>(std::floor(std::log10(low_))),
              last = static_cast<int>(std::floor(std::log10(high_)));
    for (const std::vector<double>& steps :
         {std::vector{1.},
          {1., 3.},
          {1., 2., 5.},
          {1., 1.5, 2., 3., 5., 7.},
          {1., 1.2, 1.4, 1.6, 1.8, 2., 2.5, 3., 3.5, 4., 5., 6., 7., 8., 9.}}) {
      std::vector<double> ticks;
      for (int decade = first; decade <= last; ++decade)
        for (const double step : steps)
          if (const double value = step * std::pow(10, decade);
              value >= low_ * kBelow && value <= high_ * kAbove)
            ticks.push_back(value);
      try_ticks(std::move(ticks));
    }
    // too many decades for a tick in each
    for (int every = 2; best.empty() && every <= last - first + 1; ++every) {
      std::vector<double> ticks;
      for (int decade = first + 1; decade <= last; decade += every)
        ticks.push_back(std::pow(10, decade));
      try_ticks(std::move(ticks));
    }
    return best;
  }
  const double slack = 1e-9 * (high_ - low_);
  const int magnitude = static_cast<int>(std::floor(std::log10(high_ - low_)));
  for (int power = magnitude - 2; power <= magnitude + 1; ++power)
    for (const double digit : {1., 2., 5.}) {
      const double step = digit * std::pow(10, power);
      if ((high_ - low_) / step > at_most + 1) continue;
      std::vector<double> ticks;
      const double first = std::ceil((low_ - slack) / step);
      for (int i = 0; i <= at_most && (first + i) * step <= high_ + slack; ++i)
        if (const double tick = (first + i) * step; ticks.empty() || tick > ticks.back())
          ticks.push_back(tick);
      try_ticks(std::move(ticks));
    }
  return best;
}

PlotAxis::Scale scale_for(double low, double high) {
  return low > 0 && high > 4 * low ? PlotAxis::Scale::kLogarithmic : PlotAxis::Scale::kLinear;
}

std::string axis_label(double value) {
  const double size = std::abs(value);
  // 2.5e-4, without "+" and zeros in the exponent
  if (size >= 1e9 || (size < 1e-3 && size >= 1e-15)) {
    const std::string text = fmt::format("{:.3e}", value);
    const size_t exponent = text.find('e');
    std::string digits = text.substr(0, exponent);
    digits.erase(digits.find_last_not_of('0') + 1);
    if (digits.ends_with('.')) digits.pop_back();
    return fmt::format("{}e{}", digits, std::stoi(text.substr(exponent + 1)));
  }
  if (size >= 1e6) return fmt::format("{:.4g}M", value / 1e6);
  if (size >= 1e4) return fmt::format("{:.4g}k", value / 1e3);
  return fmt::format("{:.4g}", size < 1e-15 ? 0. : value);
}

}  // namespace mmrec
