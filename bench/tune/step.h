#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "generators/registry/instance.h"

namespace mmrec::tune {

using namespace registry;  // calls, instances and rows are the tables'

/// What a training step does of one call.
struct StepCall {
  Call call;
  double seconds = 0;  ///< of all such calls
};

/// A training step of a model.
struct ModelStep {
  std::string config = "tiny";  ///< a preset or a JSON file of fields
  int batch = 2, sequence = 256;
};

/// What the last sweep was for: what `tune measure` measures where nothing else is asked for.
struct SweptStep {
  ModelStep step;
  int threads = 1;
};
void write_swept_step(const std::filesystem::path& file, const SweptStep& swept);
/// Nothing where there is no such file. Throws an Error for one that says something else.
std::optional<SweptStep> read_swept_step(const std::filesystem::path& file);

/// What a step calls, the longest first.
std::vector<StepCall> record_step(const ModelStep& step, uint64_t seed);

}  // namespace mmrec::tune
