#include "bench/harness/read_stream.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "runtime/threads.h"

namespace mmrec::bench {

namespace {

/// Combines the loaded bits by independent exclusive ors. These are cheap and, unlike float
/// operations, never slowed by the values, so only the loads take time.
template <class Vector>
[[gnu::always_inline]] inline float read_in(const float* data, int64_t count) {
  constexpr int kSums = 8, kLanes = sizeof(Vector) / sizeof(int32_t);
  Vector sums[kSums] = {};
  for (int64_t i = 0; i < count; i += kSums * kLanes) {
#pragma GCC unroll 8
    for (int j = 0; j < kSums; ++j) {
      Vector loaded;
      std::memcpy(&loaded, data + i + j * kLanes, sizeof loaded);
      sums[j] ^= loaded;
    }
  }
  for (int j = 1; j < kSums; ++j) sums[0] ^= sums[j];
  return static_cast<float>(sums[0][0]);
}

typedef int32_t Lanes4 __attribute__((vector_size(16)));

#if defined(__x86_64__)

typedef int32_t Lanes8 __attribute__((vector_size(32)));
typedef int32_t Lanes16 __attribute__((vector_size(64)));

__attribute__((target("avx512f"))) float read_avx512(const float* data, int64_t count) {
  return read_in<Lanes16>(data, count);
}
__attribute__((target("avx2"))) float read_avx2(const float* data, int64_t count) {
  return read_in<Lanes8>(data, count);
}

#endif

using Read = float (*)(const float* data, int64_t count);

Read widest_read() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f")) return read_avx512;
  if (__builtin_cpu_supports("avx2")) return read_avx2;
#endif
  return read_in<Lanes4>;
}

}  // namespace

void read_in_parts(const float* data, int64_t count, int parts, int times) {
  constexpr int64_t kUnit = 128;
  const int64_t units = count / kUnit, used_parts = std::min<int64_t>(parts, units);
  parallel_for(static_cast<int>(used_parts), [&](int part) {
    const int64_t begin = units * part / used_parts * kUnit,
                  end = units * (part + 1) / used_parts * kUnit;
    static const Read read = widest_read();
    static std::atomic<float> used;
    for (int i = 0; i < times; ++i)
      used.store(read(data + begin, end - begin), std::memory_order_relaxed);
  });
}

}  // namespace mmrec::bench
