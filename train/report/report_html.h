#pragma once

#include <string>
#include <vector>

#include "train/report/run_report.h"

namespace mmrec {

/// Returns the page of `report --html`: self-contained, with the runs overlaid in plots of loss,
/// validation loss, learning rate, gradient norm and tokens/s, and with the tables. While one of
/// the runs is training, a browser loads the page again every 10 seconds.
std::string report_html(const std::vector<RunReport>& runs);

}  // namespace mmrec
