#include "runtime/rng.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "support/error.h"
#include "support/same_bits_math.h"

namespace mmrec {

namespace {

/// Turns pairs of words into pairs of normal numbers (Box-Muller). Compilers make vectors of the
/// loops, whose length is fixed.
template <size_t pairs>
void normals_of(const uint32_t* words, float* normals) {
  std::array<float, pairs> radius, angle;
  for (size_t i = 0; i < pairs; ++i) {
    const float u = (static_cast<float>(words[2 * i] >> 8) + 0.5f) * 0x1p-24f;
    radius[i] = -2.f * static_cast<float>(same_bits::log(u));
    angle[i] = 2.f * std::numbers::pi_v<float> * 0x1p-32f * static_cast<float>(words[2 * i + 1]);
  }
  for (size_t i = 0; i < pairs; ++i) radius[i] = std::sqrt(radius[i]);
  for (size_t i = 0; i < pairs; ++i) {
    const same_bits::SineAndCosine direction = same_bits::sine_and_cosine(angle[i]);
    normals[2 * i] = radius[i] * static_cast<float>(direction.cosine);
    normals[2 * i + 1] = radius[i] * static_cast<float>(direction.sine);
  }
}

}  // namespace

std::array<uint32_t, 4> Philox::block(uint64_t counter) const {
  std::array<uint32_t, 4> c{static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32),
                            static_cast<uint32_t>(stream_), static_cast<uint32_t>(stream_ >> 32)};
  uint32_t k0 = static_cast<uint32_t>(seed_), k1 = static_cast<uint32_t>(seed_ >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * c[0], p1 = uint64_t{0xCD9E8D57u} * c[2];
    c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k0, static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k1, static_cast<uint32_t>(p0)};
    k0 += 0x9E3779B9u;  // Weyl sequences of the golden ratio and sqrt(3) - 1
    k1 += 0xBB67AE85u;
  }
  return c;
}

uint32_t Philox::bits(uint64_t i) const { return block(i / 4)[i % 4]; }

float Philox::uniform(uint64_t i) const { return static_cast<float>(bits(i) >> 8) * 0x1p-24f; }

uint32_t Philox::below(uint64_t i, uint32_t n) const {
  return static_cast<uint32_t>((uint64_t{bits(i)} * n) >> 32);
}

std::array<float, 4> Philox::normals(uint64_t counter) const {
  const std::array<uint32_t, 4> words = block(counter);
  std::array<float, 4> result;
  normals_of<2>(words.data(), result.data());
  return result;
}

void Philox::fill_normal(uint64_t counter, float deviation, float* values, int64_t count) const {
  constexpr size_t kBlocks = 16;  // enough for the vectors
  std::array<uint32_t, 4 * kBlocks> words;
  std::array<float, 4 * kBlocks> normals;
  for (int64_t i = 0; i < count; i += std::ssize(normals)) {
    for (size_t j = 0; j < kBlocks; ++j) std::ranges::copy(block(counter++), &words[4 * j]);
    normals_of<2 * kBlocks>(words.data(), normals.data());
    const int64_t rest = std::min<int64_t>(std::ssize(normals), count - i);
    for (int64_t j = 0; j < rest; ++j) values[i + j] = deviation * normals[j];
  }
}

uint32_t dropout_threshold(float p) {
  if (!(p >= 0.f && p < 1.f))
    fail_usage("dropout: the probability must be at least 0 and below 1, not {}", p);
  return static_cast<uint32_t>(static_cast<double>(p) * 0x1p32);
}

}  // namespace mmrec
