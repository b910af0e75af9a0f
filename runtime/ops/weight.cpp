#include "runtime/ops/weight.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "runtime/threads.h"
#include "support/error.h"

namespace mmrec::ops {

namespace {

/// The bits of a float rounded to bfloat16, as generators/common/bf16.h does.
uint32_t bf16_bits(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

/// Returns the scale of an output's int8 weights; NaN if one of them is not finite. It has 16 bits,
/// so that all its multiples are floats: weights that are such multiples get the same scale again.
float int8_scale(std::span<const float> weights) {
  constexpr float kMost = 127;
  float largest = 0;
  for (const float weight : weights) {
    if (!std::isfinite(weight)) return std::numeric_limits<float>::quiet_NaN();
    largest = std::max(largest, std::abs(weight));
  }
  return std::bit_cast<float>((std::bit_cast<uint32_t>(largest / kMost) + 0xff) & ~0xffu);
}

/// Returns the whole number for a weight.
float int8_number(float weight, float scale) {
  return scale > 0 ? std::nearbyint(weight / scale) : 0.f;
}

/// Calls body(n, row) for each output, with its weights times the norm's.
template <class Body>
void for_each_output(const Tensor& weight, const Tensor& norm, const Body& body) {
  const int in = weight.size(1);
  parallel_for(weight_panels(weight.size(0)), [&](int panel) {
    std::vector<float> row(in);
    const int end = std::min(weight.size(0), (panel + 1) * kWeightPanel);
    for (int n = panel * kWeightPanel; n < end; ++n) {
      const float* const own = weight.at(n).data();
      for (int k = 0; k < in; ++k) row[k] = norm.rank() == 0 ? own[k] : norm.data()[k] * own[k];
      body(n, std::span<const float>(row));
    }
  });
}

}  // namespace

void pack(const Weight& weight, const Tensor& norm) {
  check_shape("pack: weight", weight, {-1, -1});
  if (!all_packed("pack: packed", {&weight}))
    fail("pack: the weight has no memory for a packed copy");
  if (norm.rank() != 0) check_shape("pack: norm", norm, {weight.size(1)});
  set_zero(weight.packed);
  for_each_output(weight, norm, [&](int n, std::span<const float> row) {
    const int panel = n / kWeightPanel, column = n % kWeightPanel;
    if (weight.factors == Precision::kInt8)
      return pack_int8(row, weight.packed_bytes().at(panel).data() + column, kWeightPanel);
    const auto fill = [&](auto* to, int terms, const auto& term) {
      for (int k = 0; k < terms; ++k) to[int64_t{kWeightPanel} * k + column] = term(k);
    };
    const int in = weight.size(1);
    if (weight.factors == Precision::kFloat32)
      return fill(weight.packed.at(panel).data(), in, [&](int k) { return row[k]; });
    fill(weight.packed_pairs().at(panel).data(), (in + 1) / 2, [&](int k) {
      const uint32_t second = 2 * k + 1 < in ? bf16_bits(row[2 * k + 1]) : 0;
      return static_cast<int32_t>(bf16_bits(row[2 * k]) | second << 16);
    });
  });
}

bool all_packed(const char* what, std::initializer_list<const Weight*> weights) {
  const bool packed = (*weights.begin())->is_packed();
  for (const Weight* weight : weights) {
    if (weight->is_packed() != packed)
      fail("{}: some weights are packed, and others are not", what);
    if (packed)
      check_shape(what, weight->packed,
                  {weight_panels(weight->size(0)), packed_rows(weight->size(1), weight->factors),
                   kWeightPanel});
  }
  return packed;
}

void round_to_int8(const Tensor& weight, const Tensor& norm) {
  check_shape("round_to_int8: weight", weight, {-1, -1});
  if (norm.rank() != 0) check_shape("round_to_int8: norm", norm, {weight.size(1)});
  for_each_output(weight, norm, [&](int n, std::span<const float> row) {
    const float scale = int8_scale(row);
    std::ranges::transform(row, weight.at(n).data(),
                           [&](float value) { return scale * int8_number(value, scale); });
  });
  if (norm.rank() != 0) std::fill_n(norm.data(), norm.count(), 1.f);
}

void pack_int8(std::span<const float> weights, int8_t* to, int stride) {
  const float scale = int8_scale(weights);
  for (const char byte : std::bit_cast<std::array<char, kInt8ScaleRows>>(scale)) {
    *to = static_cast<int8_t>(byte);
    to += stride;
  }
  for (const float weight : weights) {
    *to = static_cast<int8_t>(int8_number(weight, scale));
    to += stride;
  }
}

}  // namespace mmrec::ops
