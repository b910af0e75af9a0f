#pragma once

#include "bench/reference/array.h"
#include "runtime/rng.h"

namespace mmrec::reference {

/// Normal numbers of a stream of Philox from block `counter` on. count: a multiple of 4.
inline Array normals(const Philox& random, uint64_t counter, float deviation, int count) {
  Array values{count};
  for (int i = 0; i < count; ++i)
    values[i] = deviation * random.normals(counter + static_cast<uint64_t>(i / 4))[i % 4];
  return values;
}

}  // namespace mmrec::reference
