#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "bench/harness/case.h"
#include "model/config.h"

namespace mmrec::bench {

/// THE DESCRIPTION of an operation of the registry, each in <operation>.cpp. It is all that tests,
/// benchmark and tuner know of it.
struct Description {
  /// A call of a pass, of sizes as the operation's line in generators/kernels.def names them.
  Workload (*workload)(std::string_view pass, const std::vector<int>& sizes);
  /// Sizes at which every variant of every pass is set against the reference: nothing at all, less
  /// than a vector, what no tile divides, a little more than one tile, and as much as several
  /// threads share.
  std::vector<std::vector<int>> tested;
  /// Adds the rows that are timed.
  void (*add)(Cases& cases);
};
#define MMREC_OP(op, passes, ...) Description describe_##op();
#define MMREC_KERNEL(op, variant, generator, params, element, traits, condition)
#include "generators/kernels.def"
#undef MMREC_OP
#undef MMREC_KERNEL

/// That of an operation by its name.
const Description& description_of(std::string_view op);
Workload workload_of(std::string_view op, std::string_view pass, const std::vector<int>& sizes);

/// A training step of a model; `name` is what the rows call it.
Workload train_workload(const Config& config, const std::string& name, int B, int T);
void add_train(Cases& cases);

/// Every row: the operations in the order of the registry, and the training steps.
std::vector<Case> all_cases();

// For descriptions.

/// The sizes of a batch of the model's presets: N = B*T rows of D columns, attention with `heads`
/// over `slots`.
struct ModelShape {
  int N, D, heads, slots;
};
std::vector<ModelShape> model_shapes();

/// Each of `first` with each of `others` behind it, then `more`.
std::vector<std::vector<int>> crossed(const std::vector<int>& first,
                                      const std::vector<std::vector<int>>& others,
                                      const std::vector<std::vector<int>>& more = {});

}  // namespace mmrec::bench
