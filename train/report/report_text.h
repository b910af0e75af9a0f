#pragma once

#include <string>
#include <vector>

#include "train/report/run_report.h"

namespace mmrec {

/// Returns the text that `report` prints: tables, checks and a plot. Lines have at most `width`
/// characters if the tables allow it.
std::string report_text(const std::vector<RunReport>& runs, size_t width);

/// Returns the table of `report --watch`: a row for each run, with step, loss, last validation,
/// tokens/s and time left. `starting`: names of runs that have no step yet.
std::string watch_text(const std::vector<RunReport>& runs, const std::vector<std::string>& starting,
                       size_t width);

/// A curve of a plot in characters. Points are sorted by x.
struct TextCurve {
  char mark;
  std::vector<std::pair<double, double>> points;
};

/// Draws overlaid curves; later curves are on top. Each column shows the mean of a curve's points
/// in it. `x` names the axis.
std::string text_plot(const std::vector<TextCurve>& curves, const std::string& x, size_t width,
                      size_t height);

}  // namespace mmrec
