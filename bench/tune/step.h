#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "bench/harness/case.h"
#include "generators/registry/instance.h"

namespace mmrec::tune {

using namespace registry;  // for Call

/// A call in a training step.
struct StepCall {
  Call call;
  double seconds = 0;  ///< of all equal calls of the step
};

/// A training step of a model.
struct ModelStep {
  std::string config = "tiny";  ///< a preset, or a JSON file of fields
  int batch = 2, sequence = 256;
  Precision precision = Precision::kFloat32;

  bench::Workload workload() const;
};

/// The step of the last sweep. `tune measure` uses it by default.
struct SweptStep {
  ModelStep step;
  int threads = 1;
};
void write_swept_step(const std::filesystem::path& file, const SweptStep& swept);
/// Returns nullopt if the file does not exist. Throws an Error if its content is invalid.
std::optional<SweptStep> read_swept_step(const std::filesystem::path& file);

/// Returns the calls of a step, sorted by time, the longest first.
std::vector<StepCall> record_step(const ModelStep& step, uint64_t seed);

}  // namespace mmrec::tune
