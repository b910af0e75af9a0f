#include "bench/harness/timing.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "bench/harness/other_load.h"
#include "runtime/profile.h"

namespace mmrec::bench {

namespace {

constexpr double kSampleSeconds = 1e-3;    // long against the clock's resolution, short against what disturbs
constexpr double kSettleSeconds = 0.3e-3;  // for the caches, and the threads of who has his own, after the others' samples
constexpr int kTries = 3;                  // to find them quiet
constexpr size_t kMinimumSamples = 7, kMaximumSamples = 1000;

double time_calls(const Prepared& call, int64_t calls) {
  const auto begin = std::chrono::steady_clock::now();
  for (int64_t i = 0; i < calls; ++i) call();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() / static_cast<double>(calls);
}

/// The kernel that serves a call, as the profile has it.
ProfileRow served_by(const Workload& work, const Prepared& call) {
  reset_profile();
  set_profiling(true);
  call();
  set_profiling(false);
  for (const ProfileRow& row : profile_rows())
    if (row.op == work.op && row.pass == work.pass.registry) return row;
  return {};
}

struct Row {
  const Case* row;
  std::shared_ptr<const Prepared> call;
  int64_t calls_per_sample = 1;
  std::vector<double> samples = {};
};

/// Samples of all rows in turn.
void take_samples(std::vector<Row>& timed, double seconds) {
  double call_seconds = 0;  // of the slowest
  for (Row& row : timed) {
    const auto forced = row.row->force();
    row.call->warm_up(kWarmUpSeconds);
    const double once = std::min({time_calls(*row.call, 1), time_calls(*row.call, 1), time_calls(*row.call, 1)});
    row.call->rest();
    row.calls_per_sample = static_cast<int64_t>(std::ceil(kSampleSeconds / once));
    row.samples.clear();
    call_seconds = std::max(call_seconds, once);
  }
  const double sample_seconds = std::max(kSampleSeconds, call_seconds);
  const size_t samples = std::clamp(static_cast<size_t>(seconds / sample_seconds), kMinimumSamples, kMaximumSamples);
  for (size_t i = 0; i < samples; ++i)
    for (Row& row : timed) {
      const auto forced = row.row->force();
      row.call->warm_up(kSettleSeconds);
      row.samples.push_back(time_calls(*row.call, row.calls_per_sample));
      row.call->rest();
    }
}

}  // namespace

std::vector<Result> time_in_turn(const std::vector<Case>& rows, double seconds, uint64_t seed) {
  std::vector<Row> timed, quietest;
  for (const Case& row : rows) {
    const auto same = std::ranges::find_if(timed, [&](const Row& other) { return other.row->work == row.work; });
    timed.push_back({&row, same != timed.end() ? same->call : std::make_shared<const Prepared>(*row.work, seed)});
  }
  double least_load = INFINITY;
  for (int i = 0; i < kTries && least_load > kQuiet; ++i) {
    const OtherLoad others;
    take_samples(timed, seconds);
    if (const double load = others.cores(); load < least_load) {
      least_load = load;
      quietest = timed;
    }
  }

  std::vector<Result> results;
  for (Row& row : quietest) {
    std::ranges::sort(row.samples);
    Result result{*row.row, {row.samples.front(), row.samples[row.samples.size() / 2]}, false, least_load};
    if (result.row.registered) {
      const Workload& work = *result.row.work;
      result.dispatched = result.row.variant == served_by(work, *row.call).variant;
      const auto forced = result.row.force();
      const ProfileRow kernel = served_by(work, *row.call);
      result.params = kernel.params;
      result.level = kernel.level;
    }
    results.push_back(result);
  }
  return results;
}

Rate::Rate(const Workload& work, double seconds, const Peak& peak)
    : flops(work.flops / seconds),
      bytes(work.bytes / seconds),
      arithmetic(work.flops / peak.flops > work.bytes / peak.bytes),
      part_of_peak(arithmetic ? flops / peak.flops : bytes / peak.bytes) {}

std::string Rate::string() const { return arithmetic ? fmt::format("{:.1f} GFLOP/s", flops / 1e9) : fmt::format("{:.1f} GB/s   ", bytes / 1e9); }

}  // namespace mmrec::bench
