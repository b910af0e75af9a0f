#pragma once

#include <array>
#include <cstdint>

namespace mmrec {

/// What the random numbers of a run are drawn for: uses of one seed do not share numbers.
enum class Stream : uint32_t { kInitialisation, kShuffle, kMemory, kDropout, kSampling, kCorpus, kSearch };

/// The stream of a use and an index within it (a parameter, an epoch, a draw; below 2^56).
constexpr uint64_t rng_stream(Stream use, uint64_t index) { return (static_cast<uint64_t>(use) << 56) | index; }

/// Counter-based random numbers: every draw is a pure function of (seed, stream, counter), so a run can be repeated,
/// resumed or split over threads without any generator state. Philox4x32-10 (Salmon et al., "Parallel random numbers: as
/// easy as 1, 2, 3", 2011).
class Philox {
 public:
  /// `stream` separates the uses of one seed, see rng_stream.
  Philox(uint64_t seed, uint64_t stream) : seed_(seed), stream_(stream) {}

  /// Four independent 32-bit words for this counter.
  std::array<uint32_t, 4> block(uint64_t counter) const;
  /// Word i of the stream: word i % 4 of block i / 4.
  uint32_t bits(uint64_t i) const;
  /// Uniform in [0, 1), 24 bits.
  float uniform(uint64_t i) const;
  /// Uniform in {0, .., n - 1}, without bias to speak of (64-bit multiply).
  uint32_t below(uint64_t i, uint32_t n) const;
  /// Four independent standard normal numbers from this counter's block, by Box-Muller.
  std::array<float, 4> normals(uint64_t counter) const;
  /// `count` of them, a multiple of 4, from this counter's block on, times `deviation`.
  void fill_normal(uint64_t counter, float deviation, float* values, int64_t count) const;

 private:
  uint64_t seed_, stream_;
};

/// The key of one dropout mask, as kernels take it: element i of the mask is kept where dropout_bits(key, i) is at least
/// dropout_threshold(p). Draw both words from Philox: keys that differ by a small number give masks that are shifted copies.
struct DropoutKey {
  uint32_t low = 0, high = 0;
};

/// The counter generator of the dropout masks: two rounds of a 32-bit avalanche (multiply, xor-shift) over the element's
/// index with the key added between, cheap enough to be recomputed in the backward pass instead of storing the mask.
/// generators/common/dropout_mask.h is the same function in Halide.
constexpr uint32_t dropout_bits(DropoutKey key, uint32_t index) {
  auto avalanche = [](uint32_t x) {
    x = (x ^ (x >> 16)) * 0x21f0aaadu;
    x = (x ^ (x >> 15)) * 0xd35a2d97u;
    return x ^ (x >> 15);
  };
  return avalanche(avalanche(index + key.low) + key.high);
}

/// The threshold of dropout_bits for a drop probability p in [0, 1).
uint32_t dropout_threshold(float p);

}  // namespace mmrec
