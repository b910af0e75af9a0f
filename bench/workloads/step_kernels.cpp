#include "bench/workloads/step_kernels.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "bench/harness/print.h"
#include "bench/harness/table.h"
#include "bench/harness/timing.h"
#include "bench/workloads/workloads.h"
#include "runtime/profile.h"

namespace mmrec::bench {

namespace {

constexpr int kRounds = 20, kStepsOfARound = 2;
constexpr double kLeastShare = 0.01;            // of the step
constexpr double kCallsSeconds = 2e-3;          // of each kernel in a round, warm and cold
constexpr double kLeastSecondsOfACall = 10e-6;  // shorter ones are timed together with others

/// A kernel with one shape. Times are those of a call, each the least mean of a round.
struct StepKernel {
  ProfileRow row;
  std::unique_ptr<Prepared> call, cold_call;
  double in_step = INFINITY, warm = INFINITY, cold = INFINITY;
};

bool same_kernel(const ProfileRow& a, const ProfileRow& b) {
  return a.op == b.op && a.pass == b.pass && a.variant == b.variant && a.dtype == b.dtype &&
         std::ranges::equal(a.sizes.data(), b.sizes.data());
}

std::vector<ProfileRow> profile_of(const Prepared& call, int64_t calls) {
  time_profiled_calls(call, calls);
  return profile_rows();
}

double per_call(const ProfileRow& row) { return row.call_seconds / static_cast<double>(row.calls); }

/// Lowers `least` to the mean time of the kernel's calls in a profile.
void lower(double& least, const ProfileRow& kernel, const std::vector<ProfileRow>& profile) {
  for (const ProfileRow& row : profile)
    if (same_kernel(row, kernel)) least = std::min(least, per_call(row));
}

std::vector<StepKernel> kernels_of(const Prepared& step, uint64_t seed) {
  std::vector<StepKernel> kernels;
  double all = 0;
  const std::vector<ProfileRow> rows = profile_of(step, kStepsOfARound);
  for (const ProfileRow& row : rows) all += row.seconds;
  for (const ProfileRow& row : rows) {
    if (row.seconds < kLeastShare * all || per_call(row) < kLeastSecondsOfACall) continue;
    const std::vector<int> sizes(row.sizes.data().begin(),
                                 row.sizes.data().begin() + row.sizes.count());
    const Workload work = workload_of(row.op, row.pass, sizes, row.dtype);
    kernels.push_back({row, std::make_unique<Prepared>(work, seed),
                       std::make_unique<Prepared>(work, seed, Caches::kCold)});
  }
  return kernels;
}

void measure_in_turn(const Prepared& step, std::vector<StepKernel>& kernels) {
  for (int round = 0; round < kRounds; ++round) {
    const std::vector<ProfileRow> steps = profile_of(step, kStepsOfARound);
    for (StepKernel& kernel : kernels) {
      lower(kernel.in_step, kernel.row, steps);
      const auto calls =
          static_cast<int64_t>(std::ceil(kCallsSeconds / time_calls(*kernel.call, 1)));
      lower(kernel.warm, kernel.row, profile_of(*kernel.call, calls));
      lower(kernel.cold, kernel.row, profile_of(*kernel.cold_call, calls));
    }
  }
}

}  // namespace

void print_step_kernels(const Case& row, uint64_t seed) {
  const Prepared step(*row.work, seed);
  step.warm_up(kWarmUpSeconds);
  std::vector<StepKernel> kernels = kernels_of(step, seed);
  measure_in_turn(step, kernels);
  print_line(
      "\nCalls of {} alone and in the step, in turn: us a call, least mean of {} rounds.\nwarm: "
      "after the same call; cold: with operands that are not in the L2 caches; lost: us a step",
      row.name(), kRounds);
  print_line("{:<54}{:>7}{:>10}{:>10}{:>10}{:>10}{:>10}", "kernel and sizes", "calls", "warm",
             "cold", "in step", "/ warm", "lost");
  double lost = 0;
  for (const StepKernel& kernel : kernels) {
    const auto calls = static_cast<double>(kernel.row.calls) / kStepsOfARound;
    const double loss = calls * (kernel.in_step - kernel.warm);
    lost += loss;
    const auto sizes = kernel.row.sizes.data();
    print_line("{:<54}{:>7.0f}{:>10.1f}{:>10.1f}{:>10.1f}{:>10}{:>10.0f}",
               fmt::format("{}.{} ({}) {}", kernel.row.op, kernel.row.pass, kernel.row.variant,
                           fmt::join(sizes.begin(), sizes.begin() + kernel.row.sizes.count(), "x")),
               calls, 1e6 * kernel.warm, 1e6 * kernel.cold, 1e6 * kernel.in_step,
               ratio_string(kernel.in_step / kernel.warm), 1e6 * loss);
  }
  print_line("{:<101}{:>10.0f}", "all, summed over the cores", 1e6 * lost);
}

}  // namespace mmrec::bench
