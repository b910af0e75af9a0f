#pragma once

#include <cstdint>

#include "bench/harness/case.h"

namespace mmrec::bench {

/// Times the longer kernels of a training step alone and within it, in turn, and prints a table:
/// how much of a step is lost because other kernels run between two calls of the same. `row`: a
/// step (train_workload).
void print_step_kernels(const Case& row, uint64_t seed);

}  // namespace mmrec::bench
