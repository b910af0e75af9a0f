#include "bench/tune/step.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "bench/harness/case.h"
#include "bench/harness/timing.h"
#include "bench/tune/builds.h"
#include "bench/workloads/workloads.h"
#include "model/config_file.h"
#include "runtime/profile.h"
#include "support/atomic_file.h"
#include "support/error.h"
#include "support/exceptions.h"
#include "support/names.h"
#include "support/strict_json.h"

namespace mmrec::tune {

void write_swept_step(const std::filesystem::path& file, const SweptStep& swept) {
  make_directory(file.parent_path());
  const auto& [config, batch, sequence, precision] = swept.step;
  const nlohmann::json json = {{"config", text_of_name(config)},
                               {"batch", batch},
                               {"seq", sequence},
                               {"bf16", precision == Precision::kBf16},
                               {"threads", swept.threads}};
  write_file_atomically(file, json.dump() + "\n");
}

std::optional<SweptStep> read_swept_step(const std::filesystem::path& file) {
  if (!std::filesystem::exists(file)) return std::nullopt;
  try {
    const nlohmann::json json = parse_json(read_file(file), file.string());
    const std::string config = name_of_text(json.at("config").get<std::string>());
    const Precision precision =
        json.value("bf16", false) ? Precision::kBf16 : Precision::kFloat32;
    return SweptStep{
        {config, count_from_json(json.at("batch")), count_from_json(json.at("seq")), precision},
        count_from_json(json.at("threads"))};
  } catch (const std::exception& error) {
    fail("{} does not say what the last sweep was for; delete it: {}", file.string(),
         in_words(error));
  }
}

bench::Workload ModelStep::workload() const {
  bench::Workload work = bench::train_workload(load_config(config), config, batch, sequence);
  work.precision = precision;
  return work;
}

std::vector<StepCall> record_step(const ModelStep& step, uint64_t seed) {
  constexpr int kSteps = 5;
  const bench::Prepared call(step.workload(), seed);
  call.warm_up(bench::kWarmUpSeconds);
  bench::time_profiled_calls(call, kSteps);

  std::vector<StepCall> calls;
  for (const ProfileRow& row : profile_rows()) {
    const Call made = call_of(
        row.op, row.pass, {row.sizes.data().begin(), row.sizes.data().begin() + row.sizes.count()},
        row.dtype);
    // the same call, served by another kernel
    const auto same = std::ranges::find(calls, made, &StepCall::call);
    StepCall& sum = same != calls.end() ? *same : calls.emplace_back(StepCall{.call = made});
    sum.seconds += row.seconds / kSteps;
  }
  std::ranges::sort(calls, std::greater(), &StepCall::seconds);
  return calls;
}

}  // namespace mmrec::tune
