#include "runtime/rng.h"

#include <cmath>
#include <numbers>

#include "support/error.h"
#include "support/same_bits_math.h"

namespace mmrec {

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
  for (size_t i = 0; i < 4; i += 2) {
    const float u = (static_cast<float>(words[i] >> 8) + 0.5f) * 0x1p-24f,
                radius = std::sqrt(-2.f * static_cast<float>(same_bits::log(u))),
                angle =
                    2.f * std::numbers::pi_v<float> * 0x1p-32f * static_cast<float>(words[i + 1]);
    const same_bits::SineAndCosine direction = same_bits::sine_and_cosine(angle);
    result[i] = radius * static_cast<float>(direction.cosine);
    result[i + 1] = radius * static_cast<float>(direction.sine);
  }
  return result;
}

uint32_t dropout_threshold(float p) {
  if (!(p >= 0.f && p < 1.f))
    fail_usage("dropout: the probability must be at least 0 and below 1, not {}", p);
  return static_cast<uint32_t>(static_cast<double>(p) * 0x1p32);
}

}  // namespace mmrec
