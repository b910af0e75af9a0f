#pragma once

#include "runtime/tensor.h"
#include "support/error.h"

namespace mmrec::ops {

/// Throws an Error unless all ids are in [0, end). The kernels clamp ids, so a wrong id would go
/// unnoticed there.
inline void check_ids(const char* what, const IntTensor& ids, int end) {
  for (int i = 0; i < ids.size(0); ++i)
    if (const int32_t id = ids.data()[i]; id < 0 || id >= end)
      fail("{}: id {} at position {} is not in [0, {})", what, id, i, end);
}

}  // namespace mmrec::ops
