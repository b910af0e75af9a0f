#include "bench/harness/timing.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "runtime/profile.h"

namespace mmrec::bench {

namespace {

// Long compared with the clock's resolution, short compared with typical disturbances.
constexpr double kSampleSeconds = 1e-3;
// Warm-up after the other contestants' samples, for the caches and threads. The system may wake a
// thread on its caller's core, and then needs some 3 ms to move it to the idle one.
constexpr double kSettleSeconds = 5e-3;
constexpr int kMinimumSamples = 7, kMaximumSamples = 1000;

/// Returns the profile's row of the kernel that serves a call.
ProfileRow served_by(const Workload& work, const Prepared& call) {
  time_profiled_calls(call, 1);
  for (const ProfileRow& row : profile_rows())
    if (row.op == work.op && row.pass == work.pass.registry) return row;
  return {};
}

}  // namespace

double time_calls(const Prepared& call, int64_t calls) {
  double seconds = 0;
  call.run_with_threads([&] {
    const auto begin = std::chrono::steady_clock::now();
    for (int64_t i = 0; i < calls; ++i) call();
    seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  });
  return seconds / static_cast<double>(calls);
}

double time_profiled_calls(const Prepared& call, int64_t calls) {
  reset_profile();
  set_profiling(true);
  const double seconds = time_calls(call, calls);
  set_profiling(false);
  return seconds;
}

std::vector<Result> time_in_turn(const std::vector<Case>& rows, double seconds, uint64_t seed,
                                 Caches caches) {
  std::vector<std::shared_ptr<const Prepared>> calls;
  std::vector<Contestant> contestants;
  double slowest = 0;  // of one call
  for (const Case& row : rows) {
    const auto same = std::ranges::find(rows, row.work, &Case::work) - rows.begin();
    calls.push_back(same < std::ssize(calls)
                        ? calls[same]
                        : std::make_shared<const Prepared>(*row.work, seed, caches));
    const auto forced = row.force();
    const auto call = calls.back();
    call->warm_up(kWarmUpSeconds);
    const double once =
        std::min({time_calls(*call, 1), time_calls(*call, 1), time_calls(*call, 1)});
    call->rest();
    slowest = std::max(slowest, once);
    const auto calls_per_sample = static_cast<int64_t>(std::ceil(kSampleSeconds / once));
    contestants.push_back({[&row, call, calls_per_sample] {
                             const auto in_turn = row.force();
                             call->warm_up(kSettleSeconds);
                             const double sample = time_calls(*call, calls_per_sample);
                             call->rest();
                             return sample;
                           },
                           true});
  }
  const int samples = std::clamp(static_cast<int>(seconds / std::max(kSampleSeconds, slowest)),
                                 kMinimumSamples, kMaximumSamples);
  const Quietest quietest = race_quietly(contestants, {.rounds = samples, .early = samples});

  std::vector<Result> results;
  for (size_t i = 0; i < rows.size(); ++i) {
    Result result{rows[i], summary(quietest.results[i].samples), false, quietest.other_load};
    if (result.row.registered) {
      const Workload& work = *result.row.work;
      result.dispatched = result.row.variant == served_by(work, *calls[i]).variant;
      const auto forced = result.row.force();
      const ProfileRow kernel = served_by(work, *calls[i]);
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
      arithmetic(work.flops / peak.flops_in(work.precision) > work.bytes / peak.bytes),
      part_of_peak(arithmetic ? flops / peak.flops_in(work.precision) : bytes / peak.bytes) {}

std::string Rate::string() const {
  return arithmetic ? fmt::format("{:.1f} GFLOP/s", flops / 1e9)
                    : fmt::format("{:.1f} GB/s   ", bytes / 1e9);
}

}  // namespace mmrec::bench
