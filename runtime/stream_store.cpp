#include "runtime/stream_store.h"

#include <cstring>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

int mmrec_stream_store(float* array, int64_t at, const float* from, int count) {
  float* to = array + at;
#if defined(__SSE__)
  // The write-combining buffers gather the four stores of a line: wider stores would not be faster.
  if (reinterpret_cast<uintptr_t>(to) % 64 == 0 && count % 16 == 0) {
    for (int i = 0; i < count; i += 16)
      for (int j = 0; j < 16; j += 4) _mm_stream_ps(to + i + j, _mm_loadu_ps(from + i + j));
    return 0;
  }
#endif
  std::memcpy(to, from, count * sizeof(float));
  return 0;
}

int mmrec_stream_fence() {
#if defined(__SSE__)
  _mm_sfence();
#endif
  return 0;
}
