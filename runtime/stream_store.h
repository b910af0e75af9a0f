#pragma once

#include <cstdint>

/// What kernels call to write past the caches (generators/common/step_stores.h). Both return 0.
extern "C" {

/// Copies `count` floats from `from` to array[at..], by streaming stores where there are such and these are whole cache lines.
int mmrec_stream_store(float* array, int64_t at, const float* from, int count);

/// Call after the last store of a task, before another thread may look at the result.
int mmrec_stream_fence();
}
