#pragma once

#include <cstdint>

namespace mmrec::bench {

/// Reads `count` floats once, in order, with the widest vectors of the CPU. Serves as the time
/// limit for calls that are bound by reading weights. `count` is a multiple of 128. Returns a value
/// that depends on the data, so that the compiler cannot drop the loads.
float read_stream(const float* data, int64_t count);

}  // namespace mmrec::bench
