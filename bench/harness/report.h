#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

#include "bench/harness/machine_peak.h"
#include "bench/harness/table.h"

namespace mmrec::bench {

/// What figures depend on, in words: CPU, threads, target, schedules, rivals, peaks, and what
/// disturbed these.
using Header = std::vector<std::pair<std::string, std::string>>;
Header header_lines(const MachinePeak& peak);

/// What was measured.
struct Report {
  std::string title;
  Groups groups;
  MachinePeak peak;
};

/// Machine and rows, times in seconds and rates, which are those of the best time, in units of 10^9
/// a second:
/// {"machine": {"cpu", "threads", .., "peak": {"gflops", "gbytes", "gbytes_plain"},
/// "peak_of_one_thread": {..},
///              "peak_disturbed", "peak_other_load"},
///  "rows": [{"name", "op", "variant", "pass", "sizes", "seconds_best", "seconds_median", "flops",
///  "bytes", "gflops", "gbytes",
///            "percent_of_peak", "limit", "is_limit", "speed_up", "fastest", "dispatched",
///            "params", "level", "other_load"}, ..]}
nlohmann::json report_json(const Report& report);

/// A page that needs nothing else: a roofline plot with a point for each row that computes, under
/// the machine's two limits, and the table.
std::string report_html(const Report& report);

}  // namespace mmrec::bench
