#pragma once

#include <cstdint>

namespace mmrec::bench {

/// Reads `count` floats, in order, with the widest vectors of the CPU, in at most `parts` parts
/// that run side by side; does so `times` times. Serves as the time limit for calls that are bound
/// by reading weights. `count` is a multiple of 128.
void read_in_parts(const float* data, int64_t count, int parts, int times);

}  // namespace mmrec::bench
