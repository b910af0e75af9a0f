#pragma once

#include <cstdint>

#include "model/config.h"
#include "runtime/arena.h"
#include "runtime/tensor.h"

namespace mmrec {

/// Slots at the top level of a bank, after pooling 4:1 twice: what attention reads.
int top_slots(const Config& config);
/// Whether those slots are parameters, which a model has itself.
bool learns_memory(const Config& config);

/// The standard deviation that a slot is drawn with.
constexpr float kSlotDeviation = 0.02f;

/// The top level of all layers' banks, [L][S][D]; empty where they are learned.
struct Memory {
  Tensor keys, values;
};

Memory allocate_memory(const Config& config, Arena& arena);

/// Draw number `draw` of the run's random memory: the mean of 16 slots from N(0, 0.02), drawn directly as N(0, 0.02/4).
/// (seed, draw) fixes it. Draw 0 is the one of evaluation and generation; training step s (from 1) takes draw s. An empty memory
/// stays empty.
void draw_memory(uint64_t seed, uint64_t draw, const Memory& memory);

/// Average-pools full banks [L][M][D] to the top level.
void pool_banks(const Tensor& bank, const Tensor& top);

}  // namespace mmrec
