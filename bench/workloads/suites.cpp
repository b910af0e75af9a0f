#include "bench/workloads/suites.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <ranges>

#include "bench/harness/print.h"
#include "bench/harness/timing.h"
#include "bench/workloads/step_kernels.h"
#include "bench/workloads/workloads.h"
#include "runtime/profile_table.h"

namespace mmrec::bench {

namespace {

struct Suite {
  const char* name;
  std::vector<const char*> ops;
};
/// `block` has all operations that are in no other suite.
const Suite kSuites[] = {{"scan", {"scan", "affine_scan"}},
                         {"gemm", {"gemm", "gemm_bf16", "column_sum"}},
                         {"recurrence", {"recurrence"}},
                         {"block", {}},
                         {"train", {"train"}},
                         {"generation", {"generation"}},
                         {"executors", {"executor"}},
                         {"documented", {"scan"}}};

/// The documented comparison: the baseline's variant, and both times in milliseconds at [8,128,64].
constexpr const char* kDocumentedBaseline = "logspace";
constexpr double kDocumentedLogspace = 0.101, kDocumentedProduct = 0.038;

Groups print_documented(const std::vector<Case>& scans, const MachinePeak& peak,
                        const Measuring& measuring) {
  print_line(
      "The scan in log space against the product: ms a call, best (median); GB/s of the product\n");
  print_line("{:<30}{:>20}{:>20}{:>10}{:>10}", "scan", "log space", "product", "ratio", "GB/s");
  const auto cell = [](const Timing& timing) {
    return fmt::format("{:.4f} ({:.4f})", 1e3 * timing.best, 1e3 * timing.median);
  };
  print_line("{:<30}{:>20}{:>20}{:>10}", "fwd/8x128x64, documented",
             fmt::format("{:.3f}", kDocumentedLogspace), fmt::format("{:.3f}", kDocumentedProduct),
             "2.9x");
  Groups groups;
  for (const std::vector<Case>& rows : grouped(scans)) {
    const std::vector<Result> group =
        time_in_turn(rows, measuring.seconds, measuring.seed, measuring.caches);
    const auto baseline = std::ranges::find(
        group, kDocumentedBaseline, [](const Result& result) { return result.row.variant; });
    const auto product = std::ranges::find(group, true, &Result::dispatched);
    if (baseline != group.end() && product != group.end() && product != baseline)
      print_line("{:<30}{:>20}{:>20}{:>9.1f}x{:>10.1f}",
                 fmt::format("{}/{}", product->row.work->pass.label,
                             fmt::join(product->row.work->sizes, "x")),
                 cell(baseline->timing), cell(product->timing),
                 baseline->timing.best / product->timing.best,
                 Rate(*product->row.work, product->timing.best, peak.all_threads).bytes / 1e9);
    groups.push_back(group);
  }
  return groups;
}

/// Prints the kernels' profile of some calls. `calls` says what they are.
void print_profile(const Case& row, int count, std::string_view calls, uint64_t seed) {
  const Prepared call(*row.work, seed);
  call.warm_up(kWarmUpSeconds);
  const double seconds = count * time_profiled_calls(call, count);
  print_line("\n{} {}, {}:", count, calls, row.name());
  print_line("{}", profile_table(seconds));
}

}  // namespace

std::vector<std::string> suite_names() {
  std::vector<std::string> names;
  for (const Suite& suite : kSuites) names.push_back(suite.name);
  return names;
}

std::vector<Case> operation_cases(const std::string& op) {
  std::vector<Case> rows;
  std::vector<std::string> ops;
  for (const Case& row : all_cases()) {
    if (row.work->op == op) rows.push_back(row);
    if (std::ranges::find(ops, row.work->op) == ops.end()) ops.push_back(row.work->op);
  }
  if (rows.empty())
    fail_usage("there is no operation '{}' to time; there are: {}", op, fmt::join(ops, ", "));
  return rows;
}

std::vector<Case> suite_cases(const std::string& name) {
  const auto suite =
      std::ranges::find_if(kSuites, [&](const Suite& candidate) { return candidate.name == name; });
  if (suite == std::end(kSuites))
    fail_usage("there is no suite '{}'; there are: {}", name, fmt::join(suite_names(), ", "));
  const auto has = [](const Suite& one, const std::string& op) {
    return std::ranges::find(one.ops, op) != one.ops.end();
  };
  std::vector<Case> rows;
  for (const Case& row : all_cases()) {
    const std::string& op = row.work->op;
    if (suite->ops.empty()
            ? std::ranges::none_of(kSuites, [&](const Suite& one) { return has(one, op); })
            : has(*suite, op))
      rows.push_back(row);
  }
  return rows;
}

Groups print_suite(const std::string& suite, const std::vector<Case>& rows, const MachinePeak& peak,
                   const Measuring& measuring) {
  if (suite == "documented") return print_documented(rows, peak, measuring);
  const Groups groups = print_table(rows, peak, measuring);
  print_rivals(groups);
  print_precisions(groups);
  if (suite == "recurrence") print_second_passes(measuring.seed);
  if (suite == "train") {
    print_profile(rows.front(), 50, "steps with dropout 0.1", measuring.seed);
    print_step_kernels(rows.front(), measuring.seed);
  }
  if (suite == "generation") print_profile(rows.front(), 2000, "tokens", measuring.seed);
  return groups;
}

}  // namespace mmrec::bench
