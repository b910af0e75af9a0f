#include "bench/timing.h"

#include <algorithm>
#include <chrono>
#include <cmath>

namespace mmrec::bench {

namespace {

constexpr double kSampleSeconds = 1e-3;  // long against the clock's resolution, short against what disturbs
constexpr size_t kMinimumSamples = 7, kMaximumSamples = 1000;

double time_calls(const Prepared& call, int64_t calls) {
  const auto begin = std::chrono::steady_clock::now();
  for (int64_t i = 0; i < calls; ++i) call();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() / static_cast<double>(calls);
}

struct Row {
  const Case* row;
  std::shared_ptr<const Prepared> call;
  int64_t calls_per_sample = 1;
  std::vector<double> samples = {};
};

}  // namespace

std::vector<Timing> time_in_turn(const std::vector<Case>& rows, double seconds, uint64_t seed) {
  std::vector<Row> timed;
  double call_seconds = 0;  // of the slowest
  for (const Case& row : rows) {
    const auto same = std::ranges::find_if(timed, [&](const Row& other) { return other.row->work == row.work; });
    timed.push_back({&row, same != timed.end() ? same->call : std::make_shared<const Prepared>(*row.work, seed)});
    Row& added = timed.back();
    const auto forced = row.force();
    added.call->warm_up();
    const double once = time_calls(*added.call, 1);
    added.calls_per_sample = static_cast<int64_t>(std::ceil(kSampleSeconds / once));
    call_seconds = std::max(call_seconds, once);
  }
  const double sample_seconds = std::max(kSampleSeconds, call_seconds);
  const size_t samples = std::clamp(static_cast<size_t>(seconds / sample_seconds), kMinimumSamples, kMaximumSamples);
  for (size_t i = 0; i < samples; ++i)
    for (Row& row : timed) {
      const auto forced = row.row->force();
      (*row.call)();  // fetches what the others have displaced
      row.samples.push_back(time_calls(*row.call, row.calls_per_sample));
    }

  std::vector<Timing> timings;
  for (Row& row : timed) {
    std::ranges::sort(row.samples);
    timings.push_back({row.samples.front(), row.samples[row.samples.size() / 2]});
  }
  return timings;
}

Rate::Rate(const Workload& work, double seconds, const Peak& peak) {
  const bool arithmetic = work.flops > 0;
  const double rate = (arithmetic ? work.flops : work.bytes) / seconds;
  value = rate / 1e9;
  unit = arithmetic ? "GFLOP/s" : "GB/s";
  part_of_peak = rate / (arithmetic ? peak.flops : peak.bytes);
}

}  // namespace mmrec::bench
