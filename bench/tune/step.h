#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bench/tune/instance.h"

namespace mmrec::tune {

/// What a training step does of one call.
struct StepCall {
  Call call;
  double seconds = 0;  ///< of all such calls
};

/// A training step of a model.
struct Step {
  std::string config = "tiny";  ///< a preset or a JSON file of fields
  int batch = 2, sequence = 256;
};

/// What a step calls, the longest first.
std::vector<StepCall> record_step(const Step& step, uint64_t seed);

}  // namespace mmrec::tune
