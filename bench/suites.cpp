#include "bench/suites.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ranges>

#include "bench/timing.h"
#include "runtime/profile.h"
#include "train/profile_table.h"

namespace mmrec::bench {

namespace {

constexpr double kRowSeconds = 0.25;  // of measuring

struct Suite {
  const char* name;
  std::vector<const char*> ops;
};
const Suite kSuites[] = {{"scan", {"scan", "affine_scan"}},
                         {"gemm", {"gemm", "column_sum"}},
                         {"recurrence", {"recurrence"}},
                         {"block", {"embedding", "hem", "decay", "attention", "dropout", "ffn", "rmsnorm", "head_loss", "adamw", "sum_of_squares"}},
                         {"train", {"train"}},
                         {"documented", {"scan"}}};

/// The variant of the documented baseline, and the documented milliseconds of both at [8,128,64].
constexpr const char* kDocumentedBaseline = "logspace";
constexpr double kDocumentedLogspace = 0.101, kDocumentedProduct = 0.038;

template <class... Args>
void print_line(fmt::format_string<Args...> format, Args&&... args) {
  fmt::print(format, std::forward<Args>(args)...);
  fmt::print("\n");
  std::fflush(stdout);
}

/// Four digits: "9.213 us", "12.34 ms".
std::string time_string(double seconds) {
  const auto [value, unit] = seconds < 1e-3 ? std::pair(1e6 * seconds, "us") : seconds < 1 ? std::pair(1e3 * seconds, "ms") : std::pair(seconds, "s");
  return fmt::format("{:.{}f} {}", value, value < 10 ? 3 : value < 100 ? 2 : 1, unit);
}

/// The rows in groups, in the order in which a group first appears.
std::vector<std::vector<Case>> grouped(const std::vector<Case>& rows) {
  std::vector<std::vector<Case>> groups;
  for (const Case& row : rows) {
    const auto group = std::ranges::find_if(groups, [&](const std::vector<Case>& other) { return other.front().group() == row.group(); });
    if (group != groups.end())
      group->push_back(row);
    else
      groups.push_back({row});
  }
  return groups;
}

void print_documented(const MachinePeak& peak, uint64_t seed) {
  print_line("The scan in log space against the product: ms a call, best (median); GB/s of the product\n");
  print_line("{:<30}{:>20}{:>20}{:>10}{:>10}", "scan", "log space", "product", "ratio", "GB/s");
  const auto cell = [](const Timing& timing) { return fmt::format("{:.4f} ({:.4f})", 1e3 * timing.best, 1e3 * timing.median); };
  print_line("{:<30}{:>20}{:>20}{:>10}", "fwd/8x128x64, documented", fmt::format("{:.3f}", kDocumentedLogspace),
             fmt::format("{:.3f}", kDocumentedProduct), "2.9x");
  for (const std::vector<Case>& group : grouped(operation_cases("scan"))) {
    const auto baseline = std::ranges::find(group, kDocumentedBaseline, &Case::variant);
    if (baseline == group.end() || baseline == group.begin()) continue;
    const Case& product = group.front();
    const std::vector<Timing> timings = time_in_turn({*baseline, product}, kRowSeconds, seed);
    print_line("{:<30}{:>20}{:>20}{:>9.1f}x{:>10.1f}", fmt::format("{}/{}", product.work->pass.label, fmt::join(product.work->sizes, "x")),
               cell(timings[0]), cell(timings[1]), timings[0].best / timings[1].best, Rate(*product.work, timings[1].best, peak.all_threads).value);
  }
}

/// Where the time of some steps goes.
void print_profile(const Case& row, uint64_t seed) {
  constexpr int kSteps = 50;
  const Prepared step(*row.work, seed);
  step.warm_up();
  reset_profile();
  set_profiling(true);
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < kSteps; ++i) step();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  set_profiling(false);
  print_line("\n{} steps of {}, dropout 0.1:", kSteps, row.name());
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
  if (rows.empty()) fail_usage("there is no operation '{}' to time; there are: {}", op, fmt::join(ops, ", "));
  return rows;
}

std::vector<Case> suite_cases(const std::string& name) {
  const auto suite = std::ranges::find_if(kSuites, [&](const Suite& candidate) { return candidate.name == name; });
  if (suite == std::end(kSuites)) fail_usage("there is no suite '{}'; there are: {}", name, fmt::join(suite_names(), ", "));
  std::vector<Case> rows;
  for (const char* op : suite->ops) std::ranges::copy(operation_cases(op), std::back_inserter(rows));
  return rows;
}

void print_table(const std::vector<Case>& rows, const MachinePeak& peak, uint64_t seed) {
  const bool trains = std::ranges::any_of(rows, [](const Case& row) { return row.work->tokens > 0; });
  print_line("{:<42}{:>11}{:>11}{:>16}{:>9}{:>10}", "", "best", "median", "best rate", "of peak", trains ? "tokens/s" : "speed-up");
  std::string before;
  for (const std::vector<Case>& group : grouped(rows)) {
    const Workload& first = *group.front().work;
    const std::string kind = first.op + first.pass.registry;
    if (!before.empty() && kind != before) print_line("");
    before = kind;
    const std::vector<Timing> timings = time_in_turn(group, kRowSeconds, seed);
    for (size_t i = 0; i < group.size(); ++i) {
      const Workload& work = *group[i].work;
      const Rate rate(work, timings[i].best, peak.all_threads);
      const std::string last =
          trains ? fmt::format("{:.0f}", work.tokens / timings[i].median) : fmt::format("{:.2f}x", timings[0].best / timings[i].best);
      print_line("{:<42}{:>11}{:>11}{:>16}{:>7.0f} %{:>10}", group[i].name(), time_string(timings[i].best), time_string(timings[i].median),
                 fmt::format("{:.1f} {:<7}", rate.value, rate.unit), 100 * rate.part_of_peak, last);
    }
  }
}

void print_suite(const std::string& suite, const MachinePeak& peak, uint64_t seed) {
  if (suite == "documented") return print_documented(peak, seed);
  const std::vector<Case> rows = suite_cases(suite);
  print_table(rows, peak, seed);
  if (suite == "train") print_profile(rows.front(), seed);
}

}  // namespace mmrec::bench
