#pragma once

#include <cstdint>

namespace mmrec::bench {

/// Reads all of data, once, in order, in the widest vectors that the CPU has: what is timed where
/// the reading of weights is the limit. Returns something of what was read. `count` is a multiple
/// of 128.
float read_stream(const float* data, int64_t count);

}  // namespace mmrec::bench
