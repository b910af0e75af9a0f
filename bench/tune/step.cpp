#include "bench/tune/step.h"

#include <algorithm>

#include "bench/case.h"
#include "bench/timing.h"
#include "bench/tune/builds.h"
#include "runtime/profile.h"
#include "train/config_file.h"

namespace mmrec::tune {

std::vector<StepCall> record_step(const Step& step, uint64_t seed) {
  constexpr int kSteps = 5;
  const bench::Workload work = bench::train_workload(load_config(step.config), step.config, step.batch, step.sequence);
  const bench::Prepared call(work, seed);
  call.warm_up(bench::kWarmUpSeconds);
  reset_profile();
  set_profiling(true);
  for (int i = 0; i < kSteps; ++i) call();
  set_profiling(false);

  std::vector<StepCall> calls;
  for (const ProfileRow& row : profile_rows()) {
    const Call made = call_of(row.op, row.pass, {row.sizes.data().begin(), row.sizes.data().begin() + row.sizes.count()});
    const auto same = std::ranges::find(calls, made, &StepCall::call);  // by another kernel
    StepCall& sum = same != calls.end() ? *same : calls.emplace_back(StepCall{.call = made});
    sum.seconds += row.seconds / kSteps;
  }
  std::ranges::sort(calls, std::greater(), &StepCall::seconds);
  return calls;
}

}  // namespace mmrec::tune
