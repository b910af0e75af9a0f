#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "bench/harness/case.h"
#include "model/config.h"
#include "runtime/ops/weight.h"

namespace mmrec::bench {

/// The description of a registered operation, returned by describe_<operation>() in
/// <operation>.cpp. Tests, benchmark and tuner know operations only through it.
struct Description {
  /// Returns a call of a pass. `sizes` are those that the operation's line in
  /// generators/kernels.def names.
  Workload (*workload)(std::string_view pass, const std::vector<int>& sizes);
  /// Sizes at which every variant of every pass is compared with the reference: empty, smaller than
  /// a vector, not divisible by any tile, slightly more than one tile, and enough work for several
  /// threads.
  std::vector<std::vector<int>> tested;
  /// Adds the timed rows.
  void (*add)(Cases& cases);
};

/// Returns the description, or a workload, of an operation by its name. Throws an Error for an
/// unknown operation. `dtype`: the type of the products' factors.
const Description& description_of(std::string_view op);
Workload workload_of(std::string_view op, std::string_view pass, const std::vector<int>& sizes,
                     std::string_view dtype = registry::kFloat32);

/// Returns a training step of a model. `name` is its name in the rows.
Workload train_workload(const Config& config, const std::string& name, int B, int T);
void add_train(Cases& cases);
/// Adds the reading of one token by models that generate text.
void add_generation(Cases& cases);
/// Adds parallel loops with little work, on each executor and as plain OpenMP loops.
void add_executors(Cases& cases);

/// Prints how long the second pass of a single sequence's pieces takes (runtime/ops/recurrence.h).
void print_second_passes(uint64_t seed);

/// Returns all rows: operations in the registry's order, then those of whole models.
std::vector<Case> all_cases();

// Helpers for descriptions.

/// The sizes of one batch of a preset model: N = B*T rows of D columns, attention with `heads`
/// heads over `slots` slots.
struct ModelShape {
  int N, D, heads, slots;
};
std::vector<ModelShape> model_shapes();
/// The same for text generation: a single row.
std::vector<ModelShape> token_shapes();

/// Returns all concatenations of an element of `first` with an element of `others`, followed by
/// `more`.
std::vector<std::vector<int>> crossed(const std::vector<int>& first,
                                      const std::vector<std::vector<int>>& others,
                                      const std::vector<std::vector<int>>& more = {});

/// Returns a random weight [out][in]; `packed`: with memory for its packed copy, for kernels of the
/// thread's precision.
ops::Weight random_weight(Operands& o, int out, int in, bool packed);
/// Fills that copy. With kInt8 the matrix is rounded before, so that it has the values that the
/// kernels read.
void pack_for_call(const ops::Weight& weight, const Tensor& norm = {});

/// Returns two numbers, rounded to bfloat16, as a pair (generators/common/bf16.h): a float of the
/// same bits.
float bf16_pair(float first, float second);

/// Sizes R, T, D of both scans, timed and tested at the same ones for comparison.
std::vector<std::vector<int>> timed_scans();
std::vector<std::vector<int>> tested_scans();

}  // namespace mmrec::bench
