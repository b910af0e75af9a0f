#pragma once

#include "model/config.h"
#include "runtime/tensor.h"

namespace mmrec {

/// Slots at the top level of a bank, after pooling 4:1 twice: what attention reads.
int top_slots(const Config& config);
/// Whether those slots are parameters; else they are drawn anew for each training step.
bool learns_memory(const Config& config);

/// The standard deviation that a slot is drawn with, and that of the mean of the 16 slots that pooling makes one of: the slots at the
/// top are drawn directly.
constexpr float kSlotDeviation = 0.02f, kTopDeviation = kSlotDeviation / 4;

/// Average-pools a full bank [M][D] to the top level, [S][D].
void pool_bank(const Tensor& bank, const Tensor& top);

}  // namespace mmrec
