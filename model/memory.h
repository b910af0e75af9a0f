#pragma once

#include "model/config.h"
#include "runtime/tensor.h"

namespace mmrec {

/// Number of slots at the top level of a bank, after pooling 4:1 twice. Attention reads these
/// slots.
int top_slots(const Config& config);
/// Returns whether the top slots are parameters. Otherwise they are redrawn for each training step.
bool learns_memory(const Config& config);

/// Standard deviation of a slot in the full bank, and of the mean of 16 such slots (one slot after
/// pooling). The top-level slots are drawn directly with the latter.
constexpr float kSlotDeviation = 0.02f, kTopDeviation = kSlotDeviation / 4;

/// Average-pools a full bank [M][D] to the top level [M/16][D].
void pool_bank(const Tensor& bank, const Tensor& top);

}  // namespace mmrec
