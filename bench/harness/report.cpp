#include "bench/harness/report.h"

#include <fmt/ranges.h>

#include <nlohmann/json.hpp>

#include "bench/rivals/rivals.h"
#include "runtime/cpu_info.h"
#include "runtime/kernel_registry.h"
#include "runtime/threads.h"

namespace mmrec::bench {

namespace {

using nlohmann::json;

std::vector<std::string> rival_libraries() {
  std::vector<std::string> names;  // several rivals may come from one library
  for (const Rival& rival : rivals())
    if (names.empty() || names.back() != rival.about) names.push_back(rival.about);
  return names;
}

json peak_json(const Peak& peak) {
  json values = {{"gflops", peak.flops / 1e9},
                 {"gbytes", peak.bytes / 1e9},
                 {"gbytes_plain", peak.plain_bytes / 1e9}};
  if (peak.bf16_flops > 0) values["gflops_bf16"] = peak.bf16_flops / 1e9;
  return values;
}

}  // namespace

Header header_lines(const MachinePeak& peak) {
  const auto line = [&](const Peak& p) {
    return fmt::format(
        "{:.1f} GFLOP/s ({}){}, copy {:.1f} GB/s ({:.1f} without streaming stores)", p.flops / 1e9,
        peak.vectors,
        p.bf16_flops > 0 ? fmt::format(", {:.1f} GFLOP/s (bf16)", p.bf16_flops / 1e9) : "",
        p.bytes / 1e9, p.plain_bytes / 1e9);
  };
  const std::vector<std::string> rivals = rival_libraries();
  Header lines = {{"CPU", cpu_name()},
                  {"threads", fmt::format("{} of {}", num_threads(), available_threads())},
                  {"executor", executor_name()},
                  {"kernel target", kernel_target()},
                  {"schedules", kernel_schedule()},
                  {"rivals", rivals.empty() ? "none was found when this was configured"
                                            : fmt::format("{}", fmt::join(rivals, ", "))},
                  {"peak", line(peak.all_threads)},
                  {"peak of one thread", line(peak.one_thread)}};
  if (peak.disturbed())
    lines.emplace_back("peak is disturbed",
                       peak.disturbance() + "; parts of the peak may be too high");
  return lines;
}

json report_json(const Report& report) {
  const MachinePeak& peak = report.peak;
  json machine = {{"cpu", cpu_name()},
                  {"threads", num_threads()},
                  {"available_threads", available_threads()},
                  {"executor", executor_name()},
                  {"kernel_target", kernel_target()},
                  {"schedule", kernel_schedule()},
                  {"rivals", rival_libraries()},
                  {"vectors", peak.vectors},
                  {"peak_disturbed", peak.disturbed()},
                  {"peak_other_load", peak.other_load},
                  {"peak", peak_json(peak.all_threads)},
                  {"peak_of_one_thread", peak_json(peak.one_thread)}};
  json rows = json::array();
  for (const std::vector<Result>& group : report.groups) {
    const std::vector<double> ratios = speed_ups(group);
    for (size_t i = 0; i < group.size(); ++i) {
      const Result& result = group[i];
      const Workload& work = *result.row.work;
      const Rate rate(work, result.timing.best, peak.all_threads);
      const bool bf16 = work.precision == Precision::kBf16;
      json row = {{"name", result.row.name()},
                  {"op", work.op},
                  {"variant", work.pass.prefix + result.row.variant_name()},
                  {"precision", dtype_of(work.precision)},
                  {"pass", work.pass.label},
                  {"sizes", work.sizes},
                  {"seconds_best", result.timing.best},
                  {"seconds_median", result.timing.median},
                  {"flops", work.flops},
                  {"bytes", work.bytes},
                  {"gflops", rate.flops / 1e9},
                  {"gbytes", rate.bytes / 1e9},
                  {"percent_of_peak", 100 * rate.part_of_peak},
                  {"limit", !rate.arithmetic ? "copy"
                            : bf16           ? "bf16"
                                             : "fma"},
                  {"speed_up", ratios[i]},
                  {"is_limit", result.row.limit},
                  {"fastest", i == winner(group)},
                  {"dispatched", result.dispatched},
                  {"params", result.params},
                  {"level", result.level},
                  {"other_load", result.other_load}};
      if (work.tokens > 0) row["tokens_per_second"] = work.tokens / result.timing.best;
      rows.push_back(std::move(row));
    }
  }
  return {{"machine", std::move(machine)}, {"rows", std::move(rows)}};
}

}  // namespace mmrec::bench
