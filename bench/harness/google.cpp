#include "bench/harness/google.h"

#include <benchmark/benchmark.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <sstream>
#include <string>
#include <string_view>

#include "bench/harness/report.h"
#include "bench/harness/timing.h"
#include "support/atomic_file.h"
#include "support/console.h"
#include "support/did_you_mean.h"
#include "support/parse_number.h"

namespace mmrec::bench {

namespace {

/// Google Benchmark calls this function several times per row, with more and more iterations. The
/// arrays stay in memory until the next row.
void run_row(benchmark::State& state, const Case& row, const MachinePeak& peak, bool csv,
             uint64_t seed) {
  static const Workload* prepared_work = nullptr;
  static std::unique_ptr<const Prepared> prepared;
  const auto forced = row.force();
  if (row.work.get() != prepared_work) {
    prepared.reset();
    prepared = std::make_unique<const Prepared>(*row.work, seed);
    prepared_work = row.work.get();
  }
  prepared->warm_up(kWarmUpSeconds);

  double seconds = 0;
  prepared->run_with_threads([&] {
    const auto begin = std::chrono::steady_clock::now();
    for (auto _ : state) (*prepared)();
    seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() /
              static_cast<double>(state.iterations());
  });
  prepared->rest();
  const Rate rate(*row.work, seconds, peak.all_threads);
  state.counters["GFLOP/s"] = rate.flops / 1e9;
  state.counters["GB/s"] = rate.bytes / 1e9;
  state.counters["percent_of_peak"] = 100 * rate.part_of_peak;
  // The first row's counters define the columns of a CSV file.
  if (row.work->tokens > 0 || csv) state.counters["tokens/s"] = row.work->tokens / seconds;
}

/// Checks the given Google Benchmark options. Google Benchmark itself accepts some meaningless
/// values, and answers others by printing its usage and exiting with success.
class Options {
 public:
  explicit Options(std::vector<std::string_view> given) : given_(std::move(given)) {}

  bool is(std::string_view name, std::string_view value) const {
    return std::ranges::any_of(given_, [&](std::string_view option) {
      return name_of(option) == name && value_of(option) == value;
    });
  }
  /// Whether to list the rows instead of running them.
  bool list() const {
    bool list = false;
    for (const std::string_view option : given_)
      if (name_of(option) == "--benchmark_list_tests")
        list = std::ranges::find(kFalse, value_of(option)) == std::end(kFalse);
    return list;
  }
  void check() const {
    for (const std::string_view option : given_) {
      const std::string_view name = name_of(option), value = value_of(option);
      const auto one_of = [&](const auto& values) {
        if (std::ranges::find(values, value) == std::end(values))
          fail_usage("{} is one of {}, not '{}'", name, fmt::join(values, ", "), value);
      };
      if (name == "--benchmark_format" || name == "--benchmark_out_format") one_of(kFormats);
      if (name == "--benchmark_time_unit") one_of(kUnits);
      if (name == "--benchmark_repetitions" && !parse_number<int>(value)) refuse(option);
      // newer versions of Google Benchmark take units
      const bool has_unit = value.ends_with('s') || value.ends_with('x');
      if (name.starts_with("--benchmark_min_") &&
          !parse_number<double>(value.substr(0, value.size() - (has_unit ? 1 : 0))))
        refuse(option);
      if (name == "--benchmark_out" && !std::filesystem::is_other(value)) check_writable(value);
    }
  }
  static void refuse(std::string_view option) {
    const std::string_view name = name_of(option);
    if (std::ranges::find(kNames, name) != std::end(kNames))
      fail_usage("{} does not take the value '{}'", name, value_of(option));
    fail_usage("Google Benchmark has no option {}{}", name,
               did_you_mean(name, {std::begin(kNames), std::end(kNames)}));
  }

 private:
  static constexpr std::string_view kFormats[] = {"console", "json", "csv"},
                                    kUnits[] = {"ns", "us", "ms", "s"},
                                    kFalse[] = {"0", "f", "false", "n", "no", "off"};
  static constexpr std::string_view kNames[] = {"--benchmark_list_tests",
                                                "--benchmark_filter",
                                                "--benchmark_min_time",
                                                "--benchmark_min_warmup_time",
                                                "--benchmark_repetitions",
                                                "--benchmark_enable_random_interleaving",
                                                "--benchmark_report_aggregates_only",
                                                "--benchmark_display_aggregates_only",
                                                "--benchmark_format",
                                                "--benchmark_out",
                                                "--benchmark_out_format",
                                                "--benchmark_color",
                                                "--benchmark_counters_tabular",
                                                "--benchmark_perf_counters",
                                                "--benchmark_context",
                                                "--benchmark_time_unit"};

  static std::string_view name_of(std::string_view option) {
    return option.substr(0, option.find('='));
  }
  static std::string_view value_of(std::string_view option) {
    const size_t equals = option.find('=');
    return equals == option.npos ? "" : option.substr(equals + 1);
  }

  std::vector<std::string_view> given_;
};

/// Calls benchmark::Initialize with one more option, which overrides the earlier ones.
void initialize(std::vector<char*> arguments, std::string option) {
  arguments.push_back(option.data());
  int count = static_cast<int>(arguments.size());
  benchmark::Initialize(&count, arguments.data());
  if (count > 1) Options::refuse(arguments[1]);
}

/// Returns one line for each row that matches the filter, as Google Benchmark lists them.
std::string matching_rows(std::vector<char*> arguments) {
  // These options have an effect at every Initialize; leave them for the second one.
  std::erase_if(arguments, [](std::string_view option) {
    return option.starts_with("--benchmark_context=") || option.starts_with("--benchmark_out=");
  });
  initialize(arguments, "--benchmark_list_tests=true");
  std::ostringstream names, errors;
  benchmark::ConsoleReporter reporter;
  reporter.SetOutputStream(&names);
  reporter.SetErrorStream(&errors);
  if (benchmark::RunSpecifiedBenchmarks(&reporter) == 0)
    fail_usage("--benchmark_filter matches no row; bench --list prints them\n{}", errors.str());
  return names.str();
}

}  // namespace

bool run_google_benchmark(const std::vector<Case>& rows, std::vector<char*> arguments,
                          const std::function<MachinePeak()>& measure_peak, uint64_t seed) {
  const Options options({arguments.begin() + 1, arguments.end()});
  options.check();
  benchmark::SetDefaultTimeUnit(benchmark::kMicrosecond);

  MachinePeak peak;
  const bool csv =
      options.is("--benchmark_format", "csv") || options.is("--benchmark_out_format", "csv");
  for (const Case& row : rows)
    // Without UseRealTime, which would add /real_time to the name. Google Benchmark derives the
    // number of iterations from the calling thread's CPU time; that is close to the wall time,
    // because this thread takes part in all work. The reported times and rates use the wall clock.
    benchmark::RegisterBenchmark(
        row.name().c_str(), [&](benchmark::State& state) { run_row(state, row, peak, csv, seed); });

  const std::string names = matching_rows(arguments);
  const bool run = !options.list();
  if (run) {
    initialize(arguments, "--benchmark_list_tests=false");
    peak = measure_peak();
    for (const auto& [key, value] : header_lines(peak)) benchmark::AddCustomContext(key, value);
    benchmark::RunSpecifiedBenchmarks();
  } else {
    print(stdout, names);
  }
  benchmark::Shutdown();
  return run;
}

}  // namespace mmrec::bench
