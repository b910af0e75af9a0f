#pragma once

#include <string>
#include <vector>

#include "train/report/run_report.h"

namespace mmrec {

/// What `report --html` writes: one page that needs nothing else, with the runs over each other in plots of loss, validation,
/// learning rate, gradient norm and tokens/s, and the tables.
std::string report_html(const std::vector<RunReport>& runs);

}  // namespace mmrec
