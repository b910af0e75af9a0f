#pragma once

#include "runtime/tensor.h"
#include "support/error.h"

namespace mmrec::ops {

/// Kernels clamp ids, so a wrong one would go unnoticed there: throws unless all are in [0, end).
inline void check_ids(const char* what, const IntTensor& ids, int end) {
  for (int i = 0; i < ids.size(0); ++i)
    if (const int32_t id = ids.data()[i]; id < 0 || id >= end) fail("{}: id {} at position {} is not in [0, {})", what, id, i, end);
}

}  // namespace mmrec::ops
