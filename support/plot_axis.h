#pragma once

#include <string>
#include <vector>

namespace mmrec {

/// An axis of a plot: values from `low` to `high` on `length` pixels or characters.
class PlotAxis {
 public:
  enum class Scale { kLinear, kLogarithmic };
  /// Logarithmic: low > 0. An empty range is widened.
  PlotAxis(double low, double high, double length, Scale scale);

  /// From 0 (low) to length (high).
  double place(double value) const;
  /// Round numbers on the axis, at most this many.
  std::vector<double> ticks(int at_most) const;

 private:
  double on_scale(double value) const;

  double low_, high_, length_;
  Scale scale_;
};

/// Logarithmic where all values are positive and the largest is more than four times the smallest.
PlotAxis::Scale scale_for(double low, double high);

/// "0.002", "1500", "20k", "1.5M", "3e-05".
std::string axis_label(double value);

}  // namespace mmrec
