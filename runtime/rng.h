#pragma once

#include <array>
#include <cstdint>

namespace mmrec {

/// Purposes of random numbers. Each purpose draws from its own streams, so purposes with the same
/// seed share no numbers.
enum class Stream : uint32_t {
  kInitialisation,
  kShuffle,
  kMemory,
  kDropout,
  kSampling,
  kCorpus,
  kSearch
};

/// The stream number of a purpose and an index within it (parameter, epoch or draw; below 2^56).
constexpr uint64_t rng_stream(Stream use, uint64_t index) {
  return (static_cast<uint64_t>(use) << 56) | index;
}

/// Counter-based random numbers: every draw is a pure function of (seed, stream, counter). A run
/// can be repeated, resumed or split over threads without generator state. Algorithm: Philox4x32-10
/// (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011).
class Philox {
 public:
  /// `stream`: see rng_stream.
  Philox(uint64_t seed, uint64_t stream) : seed_(seed), stream_(stream) {}

  uint64_t seed() const { return seed_; }
  uint64_t stream() const { return stream_; }

  /// Returns four independent 32-bit words for this counter.
  std::array<uint32_t, 4> block(uint64_t counter) const;
  /// Returns word i of the stream: word i % 4 of block i / 4.
  uint32_t bits(uint64_t i) const;
  /// Returns a uniform number in [0, 1) with 24 random bits.
  float uniform(uint64_t i) const;
  /// Returns a uniform integer in {0, .., n - 1}. The bias of the 64-bit multiply is negligible.
  uint32_t below(uint64_t i, uint32_t n) const;
  /// Returns four independent standard normal numbers from this counter's block (Box-Muller).
  /// ops::fill_normal fills arrays with them.
  std::array<float, 4> normals(uint64_t counter) const;

 private:
  uint64_t seed_, stream_;
};

/// The key of one dropout mask, in the form kernels take. Element i is kept if dropout_bits(key, i)
/// >= dropout_threshold(p). Draw both words from Philox: keys that differ by a small number give
/// shifted copies of one mask.
struct DropoutKey {
  uint32_t low = 0, high = 0;
};

/// Counter-based generator of the dropout masks: two rounds of a 32-bit avalanche (multiply,
/// xor-shift) over the element's index, with a key word added before each. Cheap enough to
/// recompute in the backward pass, so no mask is stored. generators/common/dropout_mask.h
/// implements the same function in Halide.
constexpr uint32_t dropout_bits(DropoutKey key, uint32_t index) {
  auto avalanche = [](uint32_t x) {
    x = (x ^ (x >> 16)) * 0x21f0aaadu;
    x = (x ^ (x >> 15)) * 0xd35a2d97u;
    return x ^ (x >> 15);
  };
  return avalanche(avalanche(index + key.low) + key.high);
}

/// Returns the dropout_bits threshold for drop probability p. Throws a UsageError unless 0 <= p <
/// 1.
uint32_t dropout_threshold(float p);

}  // namespace mmrec
