#include <fmt/ranges.h>

#include <string_view>

#include "bench/google.h"
#include "bench/rivals.h"
#include "bench/suites.h"
#include "runtime/cpu_info.h"
#include "runtime/threads.h"
#include "train/command_line.h"

namespace mmrec::bench {
namespace {

using Header = std::vector<std::pair<std::string, std::string>>;

std::string rival_names() {
  std::vector<std::string> names;  // rivals of one library have the same
  for (const Rival& rival : rivals())
    if (names.empty() || names.back() != rival.about) names.push_back(rival.about);
  return names.empty() ? "none was found when this was configured" : fmt::format("{}", fmt::join(names, ", "));
}

/// What figures depend on.
Header header_lines(const MachinePeak& peak) {
  const auto line = [&](const Peak& p) {
    return fmt::format("{:.1f} GFLOP/s ({}), copy {:.1f} GB/s ({:.1f} without streaming stores)", p.flops / 1e9, peak.vectors, p.bytes / 1e9,
                       p.plain_bytes / 1e9);
  };
  return {{"CPU", cpu_name()},
          {"threads", fmt::format("{} of {}", num_threads(), available_threads())},
          {"kernel target", kernel_target()},
          {"schedules", kernel_schedule()},
          {"rivals", rival_names()},
          {"peak", line(peak.all_threads)},
          {"peak of one thread", line(peak.one_thread)}};
}

void print_header(const Header& header) {
  for (const auto& [key, value] : header) fmt::print("{:<20}{}\n", key, value);
  fmt::print("\n");
}

}  // namespace
}  // namespace mmrec::bench

int main(int argc, char** argv) {
  using namespace mmrec;
  using namespace mmrec::bench;
  Program program("bench",
                  "Times every operation in every variant, and the whole training step, on the model's shapes.\n"
                  "Without --suite or --compare all rows run under Google Benchmark, whose options (--benchmark_filter=<regex>,\n"
                  "--benchmark_repetitions=<n>, --benchmark_format=json, --benchmark_out=<file>, ..) are all there.",
                  "bench --suite gemm\n  bench --benchmark_filter='^head_loss/.*/512x5000x128$' --benchmark_repetitions=5");
  std::string suite, op;
  double seconds = 0.25;
  bool list = false;
  CLI::App& app = program.app();
  app.add_option("--suite", suite, fmt::format("print a table, variants timed in turn: {}", fmt::join(suite_names(), ", ")));
  app.add_option("--compare", op, "print such a table of one operation")->excludes("--suite");
  app.add_option("--seconds", seconds, "of measuring for each row of a table")->check(more_than(0));
  app.add_flag("--list", list, "print the names of the rows, of the suite or operation if one is given");

  std::vector<char*> ours{argv[0]}, google{argv[0]};
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    (argument.starts_with("--benchmark_") || argument.starts_with("--v=") ? google : ours).push_back(argv[i]);
  }
  return program.run(static_cast<int>(ours.size()), ours.data(), [&] {
    const bool table = !suite.empty() || !op.empty();
    if ((table || list) && google.size() > 1) fail_usage("{} does not go with --suite, --compare or --list", google[1]);
    const std::vector<Case> rows = !suite.empty() ? suite_cases(suite) : !op.empty() ? operation_cases(op) : all_cases();
    if (list) {
      for (const Case& row : rows) fmt::print("{}\n", row.name());
      return;
    }
    const MachinePeak peak = measure_machine_peak();
    const Header header = header_lines(peak);
    if (peak.disturbed())
      fmt::print(stderr, "warning: {} threads together do only {:.1f} times what one does alone: the machine is busy, or they share cores\n",
                 peak.threads, peak.all_threads.flops / peak.one_thread.flops);
    if (!table) return run_google_benchmark(google, header, peak, program.seed());
    if (!program.quiet()) print_header(header);
    const Measuring measuring{.seconds = seconds, .seed = program.seed()};
    if (suite.empty())
      print_rivals(print_table(rows, peak, measuring));
    else
      print_suite(suite, peak, measuring);
  });
}
