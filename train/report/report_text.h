#pragma once

#include <string>
#include <vector>

#include "train/report/run_report.h"

namespace mmrec {

/// What `report` prints: tables, checks and a plot, in lines of at most `width` characters where the tables allow it.
std::string report_text(const std::vector<RunReport>& runs, size_t width);

/// A curve of a plot in characters; points in the order of x.
struct TextCurve {
  char mark;
  std::vector<std::pair<double, double>> points;
};

/// The curves over each other, later ones on top: in each column the mean of a curve's points. `x` names the axis.
std::string text_plot(const std::vector<TextCurve>& curves, const std::string& x, size_t width, size_t height);

}  // namespace mmrec
