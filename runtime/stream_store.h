#pragma once

#include <cstdint>

/// Functions that kernels call to write past the caches (generators/common/step_stores.h). Both
/// return 0.
extern "C" {

/// Copies `count` floats from `from` to array[at..]. Uses streaming stores if the CPU has them and
/// the target consists of whole cache lines; otherwise memcpy.
int mmrec_stream_store(float* array, int64_t at, const float* from, int count);

/// Orders streaming stores. Call it after the last store of a task, before another thread may read
/// the result.
int mmrec_stream_fence();
}
