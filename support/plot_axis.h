#pragma once

#include <string>
#include <vector>

namespace mmrec {

/// An axis of a plot: maps values low .. high to 0 .. length (pixels or characters).
class PlotAxis {
 public:
  enum class Scale { kLinear, kLogarithmic };
  /// A logarithmic scale needs low > 0. An empty range is widened.
  PlotAxis(double low, double high, double length, Scale scale);

  /// Returns the position of a value: 0 at `low`, length at `high`.
  double place(double value) const;
  /// Returns round numbers on the axis, at most `at_most`.
  std::vector<double> ticks(int at_most) const;

 private:
  double on_scale(double value) const;

  double low_, high_, length_;
  Scale scale_;
};

/// Logarithmic if all values are positive and the largest is more than four times the smallest.
PlotAxis::Scale scale_for(double low, double high);

/// Formats "0.002", "1500", "20k", "1.5M", "3e-05".
std::string axis_label(double value);

}  // namespace mmrec
