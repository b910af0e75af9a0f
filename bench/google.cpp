#include "bench/google.h"

#include <benchmark/benchmark.h>

#include <chrono>

#include "bench/timing.h"

namespace mmrec::bench {

namespace {

/// Google Benchmark calls this several times for a row, with more and more iterations: the arrays stay until the next row.
void run_row(benchmark::State& state, const Case& row, const MachinePeak& peak, uint64_t seed) {
  static const Workload* prepared_work = nullptr;
  static std::unique_ptr<const Prepared> prepared;
  const auto forced = row.force();
  if (row.work.get() != prepared_work) {
    prepared.reset();
    prepared = std::make_unique<const Prepared>(*row.work, seed);
    prepared_work = row.work.get();
  }
  prepared->warm_up(kWarmUpSeconds);

  const auto begin = std::chrono::steady_clock::now();
  for (auto _ : state) (*prepared)();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() / static_cast<double>(state.iterations());
  prepared->rest();
  const Rate rate(*row.work, seconds, peak.all_threads);
  state.counters["GFLOP/s"] = rate.flops / 1e9;
  state.counters["GB/s"] = rate.bytes / 1e9;
  state.counters["percent_of_peak"] = 100 * rate.part_of_peak;
  if (row.work->tokens > 0) state.counters["tokens/s"] = row.work->tokens / seconds;
}

}  // namespace

void run_google_benchmark(std::vector<char*> arguments, const Header& header, const MachinePeak& peak, uint64_t seed) {
  int count = static_cast<int>(arguments.size());
  benchmark::Initialize(&count, arguments.data());
  if (count > 1) fail_usage("Google Benchmark has no option {}; run 'bench --help' for what there is", arguments[1]);
  for (const auto& [key, value] : header) benchmark::AddCustomContext(key, value);

  const std::vector<Case> cases = all_cases();
  for (const Case& row : cases)
    // No UseRealTime, which would add /real_time to the name: the calling thread takes its part in all work, so its CPU time,
    // from which the number of iterations follows, is about the same. Times and rates are of the wall clock all the same.
    benchmark::RegisterBenchmark(row.name().c_str(), [&](benchmark::State& state) {
      run_row(state, row, peak, seed);
    })->Unit(benchmark::kMicrosecond);
  if (benchmark::RunSpecifiedBenchmarks() == 0) fail_usage("--benchmark_filter matches no row; bench --list prints them");
  benchmark::Shutdown();
}

}  // namespace mmrec::bench
