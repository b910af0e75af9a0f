#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

#include "bench/harness/machine_peak.h"
#include "bench/harness/table.h"

namespace mmrec::bench {

/// The conditions of a measurement, as text: CPU, threads, target, schedules, rivals, peaks, and
/// what disturbed the peaks.
using Header = std::vector<std::pair<std::string, std::string>>;
Header header_lines(const MachinePeak& peak);

/// The results of a run.
struct Report {
  std::string title;
  Groups groups;
  MachinePeak peak;
};

/// Returns machine and rows as JSON. Times are in seconds. Rates are those of the best time, in
/// units of 10^9 per second:
///   {"machine": {"cpu", "threads", .., "peak": {"gflops", "gflops_bf16" (if there are such
///                kernels), "gbytes", "gbytes_plain"},
///                "peak_of_one_thread": {..}, "peak_disturbed", "peak_other_load"},
///    "rows": [{"name", "op", "variant", "precision", "pass", "sizes", "seconds_best",
///              "seconds_median", "flops", "bytes", "gflops", "gbytes", "percent_of_peak", "limit",
///              "is_limit", "speed_up", "fastest", "dispatched", "params", "level", "other_load"},
///             ..]}
nlohmann::json report_json(const Report& report);

/// Returns a self-contained HTML page: a roofline plot with the machine's limits and one point per
/// row that computes, and the table.
std::string report_html(const Report& report);

}  // namespace mmrec::bench
