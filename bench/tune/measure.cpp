#include "bench/tune/measure.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <nlohmann/json.hpp>

#include "bench/harness/case.h"
#include "bench/harness/print.h"
#include "bench/harness/race.h"
#include "bench/harness/table.h"
#include "bench/harness/timing.h"
#include "bench/tune/apply.h"
#include "bench/tune/builds.h"
#include "bench/workloads/workloads.h"
#include "model/config_file.h"
#include "support/atomic_file.h"
#include "support/error.h"
#include "support/names.h"
#include "support/run_commands.h"
#include "support/strict_json.h"

namespace mmrec::tune {

namespace {

// measuring time of the step, and of each call
constexpr double kStepSeconds = 1, kCallSeconds = 0.02;
constexpr int kRounds = 5;  // of both programs in turn

Timing time_for(const bench::Workload& work, double seconds, uint64_t seed, bench::Caches caches) {
  using Clock = std::chrono::steady_clock;
  const bench::Prepared call(work, seed, caches);
  call.warm_up(bench::kWarmUpSeconds);
  std::vector<double> samples;
  call.run_with_threads([&] {
    for (const auto end = Clock::now() + std::chrono::duration<double>(seconds);
         samples.size() < 5 || Clock::now() < end;) {
      const auto begin = Clock::now();
      call();
      samples.push_back(std::chrono::duration<double>(Clock::now() - begin).count());
    }
  });
  return summary(samples);
}

/// Collects one timing over all rounds: the best of the best times, the median of the medians.
struct Rounds {
  void add(const nlohmann::json& seconds) {
    best.push_back(seconds.at("best"));
    medians.push_back(seconds.at("median"));
  }
  Timing seconds() const {
    return {std::ranges::min(best), median(medians), median_deviation(medians)};
  }
  std::vector<double> best, medians;
};

/// Results of one program in all rounds.
struct Measurements {
  void add(const nlohmann::json& measured) {
    step.add(measured.at("step").at("seconds"));
    tokens = measured.at("step").at("tokens");
    for (const nlohmann::json& call : measured.at("calls")) {
      const Call key{call.at("op"), call.at("pass"), call.at("sizes").get<NamedSizes>(),
                     call.at("dtype")};
      calls[key].add(call.at("seconds"));
      kernel[key] = call.at("kernel");
    }
  }
  Rounds step;
  double tokens = 0;
  std::map<Call, Rounds> calls;
  std::map<Call, std::string> kernel;
};

nlohmann::json run_measure(const std::filesystem::path& program, const ModelStep& step, int threads,
                           uint64_t seed) {
  const std::filesystem::path output = Tree::ours().folder() / "measure.json",
                              errors = Tree::ours().folder() / "measure.err";
  const Ending ending =
      run_command({{program, "measure", "--json", "--alone", "--config", step.config, "--batch",
                    std::to_string(step.batch), "--seq", std::to_string(step.sequence),
                    "--precision", step.precision == Precision::kBf16 ? "bf16" : "float32",
                    "--threads", std::to_string(threads), "--seed", std::to_string(seed)},
                   output,
                   errors});
  if (ending.code != 0)
    fail("{} measure: {}: {}", program.string(), ending.describe(), read_file(errors));
  return parse_json(read_file(output), output.string());
}

std::string ratio_string(double ratio) { return bench::ratio_string(ratio, 3); }

}  // namespace

Measured measure(const ModelStep& step, uint64_t seed) {
  Measured measured;
  const bench::Workload work = step.workload();
  measured.step = time_for(work, kStepSeconds, seed, bench::Caches::kWarm);
  measured.step_tokens = work.tokens;
  for (const StepCall& call : record_step(step, seed)) {
    const KernelEntry& kernel = chosen_kernel(call.call);
    measured.calls.push_back(
        {call.call, Instance{kernel.variant, parse_params(kernel.params)}.string(), kernel.level,
         time_for(
             bench::workload_of(call.call.op, call.call.pass, sizes_of(call.call), call.call.dtype),
             kCallSeconds, seed, bench::Caches::kCold)});
  }
  return measured;
}

nlohmann::json measured_json(const Measured& measured) {
  nlohmann::json calls = nlohmann::json::array();
  for (const Measured::OfCall& call : measured.calls)
    calls.push_back({{"op", call.call.op},
                     {"pass", call.call.pass},
                     {"dtype", call.call.dtype},
                     {"sizes", call.call.sizes},
                     {"kernel", call.kernel},
                     {"level", call.level},
                     {"seconds", seconds_json(call.seconds)}});
  return {{"step", {{"seconds", seconds_json(measured.step)}, {"tokens", measured.step_tokens}}},
          {"calls", calls}};
}

void print_before_after(const std::filesystem::path& before, const ModelStep& step, int threads,
                        uint64_t seed, bool json) {
  Measurements old, today;
  for (int i = 0; i < kRounds; ++i) {
    old.add(run_measure(before, step, threads, seed));
    today.add(run_measure("/proc/self/exe", step, threads, seed));
  }
  const Timing step_before = old.step.seconds(), step_after = today.step.seconds();
  nlohmann::json report = {{"step",
                            {{"before", seconds_json(step_before)},
                             {"after", seconds_json(step_after)},
                             {"ratio_best", step_before.best / step_after.best},
                             {"ratio_median", step_before.median / step_after.median}}},
                           {"calls", nlohmann::json::array()}};
  if (!json) {
    bench::print_line("{:<44}{:>12}{:>12}{:>9}  {}",
                      fmt::format("best of {} rounds, both in turn", kRounds), "before", "after",
                      "ratio", "kernel");
    bench::print_line(
        "{:<44}{:>12}{:>12}{:>9}",
        fmt::format("train step {} {}x{}", visible(step.config), step.batch, step.sequence),
        bench::time_string(step_before.best), bench::time_string(step_after.best),
        ratio_string(step_before.best / step_after.best));
    bench::print_line("{:<44}{:>12}{:>12}{:>9}", "  median", bench::time_string(step_before.median),
                      bench::time_string(step_after.median),
                      ratio_string(step_before.median / step_after.median));
    bench::print_line("{:<44}{:>12.0f}{:>12.0f}", "  tokens/s (median)",
                      old.tokens / step_before.median, today.tokens / step_after.median);
  }
  for (const auto& [call, rounds] : today.calls) {
    if (!old.calls.contains(call)) continue;
    const Timing was = old.calls.at(call).seconds(), is = rounds.seconds();
    report["calls"].push_back({{"op", call.op},
                               {"pass", call.pass},
                               {"sizes", call.sizes},
                               {"before", seconds_json(was)},
                               {"after", seconds_json(is)},
                               {"ratio_best", was.best / is.best},
                               {"kernel_before", old.kernel.at(call)},
                               {"kernel_after", today.kernel.at(call)}});
    if (!json)
      bench::print_line("{:<44}{:>12}{:>12}{:>9}  {}", call_string(call),
                        bench::time_string(was.best), bench::time_string(is.best),
                        ratio_string(was.best / is.best), today.kernel.at(call));
  }
  if (json) bench::print_line("{}", report.dump(1));
}

}  // namespace mmrec::tune
