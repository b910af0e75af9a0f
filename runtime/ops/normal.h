#pragma once

#include <cstdint>

#include "runtime/rng.h"
#include "runtime/tensor.h"

namespace mmrec::ops {

/// Fills an array of any shape with normal numbers of standard deviation `deviation`: those of
/// Philox::normals from block `counter` on, four of each, bit for bit. The number of values must be
/// a multiple of 4.
void fill_normal(const Philox& random, uint64_t counter, float deviation, const Tensor& values);

}  // namespace mmrec::ops
