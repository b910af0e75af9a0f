#include <fmt/ranges.h>

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <nlohmann/json.hpp>
#include <regex>
#include <string_view>

#include "bench/harness/google.h"
#include "bench/harness/mca.h"
#include "bench/harness/other_load.h"
#include "bench/harness/print.h"
#include "bench/harness/report.h"
#include "bench/workloads/suites.h"
#include "bench/workloads/workloads.h"
#include "support/atomic_file.h"
#include "support/console.h"
#include "support/html_page.h"
#include "support/names.h"
#include "train/programs/command_line.h"

namespace mmrec::bench {
namespace {

void print_header(const Header& header) {
  for (const auto& [key, value] : header) print_line("{:<20}{}", key, value);
  print_line("");
}

/// Printed last, where the reader sees it.
void warn_of_other_programs() {
  print(stderr,
        "\nwarning: other programs ran meanwhile: figures are worse than the machine's, above all "
        "the rivals'\n");
}

struct Options {
  std::string suite, op, mca, only, json_file, html_file;
  double seconds = 0.25;
  bool cold = false, list = false;
};

void add_options(CLI::App& app, Options& options) {
  const CLI::Validator not_empty(
      [](std::string& text) { return text.empty() ? "the value is empty" : ""; }, "");
  app.add_option(
         "--suite", options.suite,
         fmt::format("print a table, variants timed in turn: {}", fmt::join(suite_names(), ", ")))
      ->check(not_empty);
  app.add_option("--compare", options.op,
                 "print such a table of one operation and where its schedules come from")
      ->check(not_empty)
      ->excludes("--suite");
  app.add_option("--mca", options.mca,
                 "show llvm-mca's view of a kernel's inner loop: op:variant or op:variant:pass")
      ->check(not_empty)
      ->excludes("--suite")
      ->excludes("--compare");
  app.add_option("--only", options.only, "keep the rows whose name has a match of this regex")
      ->check(not_empty);
  number(app, "--seconds", options.seconds, "of measuring for each row of a table",
         {.more_than = 0});
  app.add_flag("--cold", options.cold,
               "time the rows of a table with operands that are not in the L2 caches, as in a "
               "training step");
  app.add_option("--json", options.json_file,
                 "also write machine, times and rates of a table to this file")
      ->check(not_empty);
  app.add_option("--html", options.html_file, "also write them as a page with a roofline plot")
      ->check(not_empty);
  app.add_flag("--list", options.list,
               "print the names of the rows, of the suite or operation if one is given");
}

/// Returns the rows whose name has a match of a regular expression, and all rows if it is empty.
std::vector<Case> matching(const std::string& regex, const std::vector<Case>& rows) {
  std::regex pattern;
  try {
    pattern = regex;
  } catch (const std::regex_error&) {
    fail_usage("--only: '{}' is no regular expression", regex);
  }
  std::vector<Case> matches;
  std::ranges::copy_if(rows, std::back_inserter(matches),
                       [&](const Case& row) { return std::regex_search(row.name(), pattern); });
  if (matches.empty()) fail_usage("--only: no row's name has a match of '{}'; see --list", regex);
  return matches;
}

MachinePeak measure_peak() {
  const MachinePeak peak = measure_machine_peak();
  if (peak.disturbed())
    print_warning("the machine's peak may be higher than what was measured: " + peak.disturbance());
  return peak;
}

/// `google`: the program's name and the options for Google Benchmark.
void run(const Options& options, const std::vector<char*>& google, const Program& program) {
  const auto& [suite, op, mca, only, json_file, html_file, seconds, cold, list] = options;
  const bool table = !suite.empty() || !op.empty();
  if ((table || list || !mca.empty()) && google.size() > 1)
    fail_usage("{} does not go with --suite, --compare, --mca or --list", google[1]);
  if (!table && !(json_file.empty() && html_file.empty()))
    fail_usage(
        "--json and --html go with --suite or --compare; for all rows there is "
        "--benchmark_out=<file>");
  if (!table && !list && !only.empty())
    fail_usage(
        "--only goes with --suite, --compare or --list; for all rows there is "
        "--benchmark_filter=<regex>");
  if (cold && !table) fail_usage("--cold goes with --suite or --compare");
  // Their rows hold whole models, which do not fit in the caches anyway.
  if (cold && (suite == "train" || suite == "generation" || suite == "executors"))
    fail_usage("--cold does not go with --suite {}", suite);
  if (!mca.empty()) return print_mca(mca);
  const std::vector<Case> rows = matching(only, !suite.empty() ? suite_cases(suite)
                                                : !op.empty()  ? operation_cases(op)
                                                               : all_cases());
  if (list) {
    for (const Case& row : rows) print_line("{}", row.name());
    return;
  }
  if (!table) {
    const OtherLoad others;
    if (run_google_benchmark(all_cases(), google, measure_peak, program.seed()) &&
        others.cores() > kQuiet)
      warn_of_other_programs();
    return;
  }
  for (const std::string& file : {json_file, html_file})
    if (!file.empty()) check_writable(file);  // check now: measuring takes minutes
  if (!html_file.empty()) check_is_page(html_file);
  const MachinePeak peak = measure_peak();
  if (!program.quiet()) print_header(header_lines(peak));
  const Measuring measuring{
      .seconds = seconds, .seed = program.seed(), .caches = cold ? Caches::kCold : Caches::kWarm};
  const Report report{suite.empty() ? "operation " + op : "suite " + suite,
                      suite.empty() ? print_comparison(rows, peak, measuring)
                                    : print_suite(suite, rows, peak, measuring),
                      peak};
  if (disturbed(report.groups)) warn_of_other_programs();
  if (!json_file.empty()) write_file_atomically(json_file, report_json(report).dump(1) + "\n");
  if (!html_file.empty()) write_file_atomically(html_file, report_html(report));
}

}  // namespace
}  // namespace mmrec::bench

int main(int argc, char** argv) {
  using namespace mmrec;
  using namespace mmrec::bench;
  Program program(
      "bench",
      "Times every operation in every variant, and the whole training step, on the "
      "model's shapes.\n"
      "Without --suite or --compare all rows run under Google Benchmark, whose options "
      "(--benchmark_filter=<regex>,\n"
      "--benchmark_repetitions=<n>, --benchmark_format=json, --benchmark_out=<file>, "
      "..) are all there.",
      "bench --suite gemm --html gemm.html\n  bench --compare scan --only fwd\n  bench --mca "
      "gemm:packed:nt\n  bench "
      "--benchmark_filter='^linear_cross_entropy/.*/512x5000x128$' "
      "--benchmark_repetitions=5");
  Options options;
  add_options(program.app(), options);

  std::string name = visible_in_line(argv[0]);  // goes into the JSON
  std::vector<char*> ours{argv[0]}, google{name.data()};
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    (argument.starts_with("--benchmark_") || argument.starts_with("--v=") ? google : ours)
        .push_back(argv[i]);
  }
  return program.run(static_cast<int>(ours.size()), ours.data(),
                     [&] { run(options, google, program); });
}
