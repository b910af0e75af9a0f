#include "bench/harness/machine_peak.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <utility>

#include "runtime/arena.h"
#include "runtime/cpu_info.h"
#include "runtime/kernel_registry.h"
#include "runtime/threads.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace mmrec::bench {

namespace {

/// Independent sums. The number exceeds latency (4 or 5 cycles) times FMA units (2), and stays
/// below the number of vector registers (16).
constexpr int kSums = 12;
/// The same for pairs of bfloat16, whose latency is 6 cycles, on 32 registers.
constexpr int kBf16Sums = 24;
constexpr int64_t kRounds = 1 << 20;  // 3 to 6 ms

/// One run of multiply-adds on one thread. `run` returns the result so that the compiler cannot
/// drop the work.
struct MultiplyAdd {
  const char* name;
  double flops;
  float (*run)();
};
constexpr double flops_of_run(int sums, int lanes, int flops_of_lane) {
  return static_cast<double>(kRounds) * sums * lanes * flops_of_lane;
}

#if defined(__x86_64__)

__attribute__((target("avx512f"))) float multiply_add_avx512() {
  const __m512 half = _mm512_set1_ps(0.5f);
  __m512 sums[kSums];
#pragma GCC unroll 16
  for (int i = 0; i < kSums; ++i) sums[i] = _mm512_set1_ps(static_cast<float>(i));
  for (int64_t round = 0; round < kRounds; ++round) {
#pragma GCC unroll 16
    for (int i = 0; i < kSums; ++i) sums[i] = _mm512_fmadd_ps(sums[i], half, half);
  }
  __m512 total = sums[0];
#pragma GCC unroll 16
  for (int i = 1; i < kSums; ++i) total = _mm512_add_ps(total, sums[i]);
  return _mm512_cvtss_f32(total);
}

__attribute__((target("avx512bf16,avx512f"))) float multiply_add_bf16() {
  const auto half = reinterpret_cast<__m512bh>(_mm512_set1_epi32(0x3f003f00));  // 0.5 everywhere
  __m512 sums[kBf16Sums];
#pragma GCC unroll 32
  for (int i = 0; i < kBf16Sums; ++i) sums[i] = _mm512_set1_ps(static_cast<float>(i));
  for (int64_t round = 0; round < kRounds; ++round) {
#pragma GCC unroll 32
    for (int i = 0; i < kBf16Sums; ++i) sums[i] = _mm512_dpbf16_ps(sums[i], half, half);
  }
  __m512 total = sums[0];
#pragma GCC unroll 32
  for (int i = 1; i < kBf16Sums; ++i) total = _mm512_add_ps(total, sums[i]);
  return _mm512_cvtss_f32(total);
}

__attribute__((target("avx2,fma"))) float multiply_add_avx2() {
  const __m256 half = _mm256_set1_ps(0.5f);
  __m256 sums[kSums];
#pragma GCC unroll 16
  for (int i = 0; i < kSums; ++i) sums[i] = _mm256_set1_ps(static_cast<float>(i));
  for (int64_t round = 0; round < kRounds; ++round) {
#pragma GCC unroll 16
    for (int i = 0; i < kSums; ++i) sums[i] = _mm256_fmadd_ps(sums[i], half, half);
  }
  __m256 total = sums[0];
#pragma GCC unroll 16
  for (int i = 1; i < kSums; ++i) total = _mm256_add_ps(total, sums[i]);
  return _mm256_cvtss_f32(total);
}

#endif

/// 128-bit vectors: NEON has fused multiply-adds, SSE has not.
float multiply_add_baseline() {
  typedef float Vector __attribute__((vector_size(16)));
  Vector sums[kSums];
#pragma GCC unroll 16
  for (int i = 0; i < kSums; ++i) sums[i] = Vector{} + static_cast<float>(i);
  for (int64_t round = 0; round < kRounds; ++round) {
#pragma GCC unroll 16
    for (int i = 0; i < kSums; ++i) {
#if defined(__FP_FAST_FMAF)
      for (int lane = 0; lane < 4; ++lane)
        sums[i][lane] = __builtin_fmaf(sums[i][lane], 0.5f, 0.5f);
#else
      sums[i] = sums[i] * 0.5f + 0.5f;
#endif
    }
  }
  Vector total = sums[0];
  for (int i = 1; i < kSums; ++i) total += sums[i];
  return total[0];
}

MultiplyAdd widest_multiply_add() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f"))
    return {"avx512", flops_of_run(kSums, 16, 2), multiply_add_avx512};
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    return {"avx2", flops_of_run(kSums, 8, 2), multiply_add_avx2};
#endif
  return {"128 bits", flops_of_run(kSums, 4, 2), multiply_add_baseline};
}

/// Returns that of pairs of bfloat16, if the CPU has it and this process kernels with such factors.
/// (A build with MMREC_SOFTWARE_BF16 has kernels for CPUs without it.)
std::optional<MultiplyAdd> paired_multiply_add() {
#if defined(__x86_64__)
  if (offers_avx512_bf16() && why_no_bf16().empty())
    return MultiplyAdd{"bf16", flops_of_run(kBf16Sums, 16, 4), multiply_add_bf16};
#endif
  return {};
}

constexpr int kTries = 2;  // attempts to measure while other programs are idle

/// Copies work on aligned arrays whose length is a multiple of this many floats.
constexpr int64_t kPiece = 256;  // too short for memcpy to choose streaming stores by itself

void copy_plain(float* to, const float* from, int64_t count) {
  for (int64_t i = 0; i < count; i += kPiece) std::memcpy(to + i, from + i, kPiece * sizeof(float));
}

/// Copies with stores that bypass the caches, on CPUs that have them.
void copy_streaming(float* to, const float* from, int64_t count) {
#if defined(__SSE__)
  for (int64_t i = 0; i < count; i += 16)
    for (int j = 0; j < 16; j += 4) _mm_stream_ps(to + i + j, _mm_load_ps(from + i + j));
  _mm_sfence();
#else
  copy_plain(to, from, count);
#endif
}

/// Returns the shortest time of `tries` runs of body(i) for i in [0, threads), in seconds.
template <class Body>
double best_time(int tries, int threads, Body body) {
  double best = 1e9;
  for (int i = 0; i < tries; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    parallel_for(threads, body);
    best = std::min(
        best, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  return best;
}

/// Returns the length of the copied arrays, in floats: four times the last-level cache, clamped to
/// [64 MiB, 1 GiB], also if the cache size is unknown.
int64_t copy_floats(int threads) {
  int64_t cache = 0;
#if defined(_SC_LEVEL3_CACHE_SIZE)
  cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
#endif
  const int64_t bytes = std::clamp<int64_t>(4 * cache, 64 << 20, 1 << 30);
  const int64_t unit = threads * kPiece;
  return bytes / static_cast<int64_t>(sizeof(float)) / unit * unit;
}

}  // namespace

double MachinePeak::speed_up() const {
  const double single = all_threads.flops / one_thread.flops;
  return one_thread.bf16_flops > 0
             ? std::min(single, all_threads.bf16_flops / one_thread.bf16_flops)
             : single;
}

std::string MachinePeak::disturbance() const {
  return falls_short()
             ? fmt::format(
                   "{} threads together do only {:.1f} times what one does alone: the machine is "
                   "busy, or they share cores",
                   threads, speed_up())
             : fmt::format("other programs took {:.2f} cores while it was measured", other_load);
}

MachinePeak measure_machine_peak() {
  const int threads = num_threads();
  const MultiplyAdd multiply_add = widest_multiply_add();
  const std::optional<MultiplyAdd> paired = paired_multiply_add();
  MachinePeak peak{.all_threads = {},
                   .one_thread = {},
                   .vectors = multiply_add.name,
                   .threads = threads,
                   .other_load = std::numeric_limits<double>::infinity()};

  std::atomic<float> used = 0;
  const auto flops = [&](const MultiplyAdd& run, int n) {
    return run.flops * n / best_time(30, n, [&](int) { used = used + run.run(); });
  };
  const int64_t count = copy_floats(threads);
  Arena from(count * sizeof(float)), to(count * sizeof(float));
  const float* source = from.tensor({static_cast<int>(count)}).data();
  float* target = to.tensor({static_cast<int>(count)}).data();
  const auto bytes = [&](auto copy, int n) {
    const int64_t part = count / n;
    const double seconds =
        best_time(8, n, [&](int i) { copy(target + i * part, source + i * part, part); });
    return 2. * sizeof(float) * static_cast<double>(part) * n / seconds;
  };
  // Other programs only lower a rate, never raise it. So keep the best rate of all tries, and the
  // lowest load of other programs.
  const auto raise = [](double& most, double rate) { most = std::max(most, rate); };
  for (int i = 0; i < kTries && peak.other_load > kQuiet; ++i) {
    const OtherLoad others;
    const auto raise_flops = [&](Peak& result, int n) {
      raise(result.flops, flops(multiply_add, n));
      if (paired) raise(result.bf16_flops, flops(*paired, n));
    };
    raise_flops(peak.one_thread, 1);
    raise_flops(peak.all_threads, threads);
    for (int again = 0; again < 9 && peak.falls_short(); ++again)
      raise_flops(peak.all_threads, threads);
    for (auto [result, n] :
         {std::pair(&peak.one_thread, 1), std::pair(&peak.all_threads, threads)}) {
      raise(result->plain_bytes, bytes(copy_plain, n));
      raise(result->bytes, std::max(result->plain_bytes, bytes(copy_streaming, n)));
    }
    peak.other_load = std::min(peak.other_load, others.cores());
  }
  return peak;
}

}  // namespace mmrec::bench
