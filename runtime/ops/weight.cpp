#include "runtime/ops/weight.h"

#include <bit>
#include <cstdint>

#include "runtime/kernel_registry.h"
#include "runtime/threads.h"
#include "support/error.h"

namespace mmrec::ops {

namespace {

/// The bits of a float rounded to bfloat16, as generators/common/bf16.h does.
uint32_t bf16_bits(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

}  // namespace

void pack(const Weight& weight, const Tensor& norm, Precision precision) {
  check_shape("pack: weight", weight, {-1, -1});
  if (!all_packed("pack: packed", {&weight}))
    fail("pack: the weight has no memory for a packed copy");
  const int out = weight.size(0), in = weight.size(1);
  if (norm.rank() != 0) check_shape("pack: norm", norm, {in});
  // element(n, k) of the matrix, and what a panel holds of it for `terms` k
  const auto element = [&](int n, int k) {
    const float own = weight.data()[static_cast<int64_t>(n) * weight.stride(0) + k];
    return norm.rank() == 0 ? own : norm.data()[k] * own;
  };
  const auto fill = [&](auto* panels, int terms, const auto& term) {
    parallel_for(weight.packed.size(0), [&](int panel) {
      auto* const to = panels + int64_t{kWeightPanel} * terms * panel;
      for (int column = 0; column < kWeightPanel; ++column) {
        const int n = panel * kWeightPanel + column;
        for (int k = 0; k < terms; ++k)
          to[int64_t{kWeightPanel} * k + column] = n < out ? term(n, k) : 0;
      }
    });
  };
  if (precision == Precision::kFloat32) return fill(weight.packed.data(), in, element);
  fill(weight.packed_pairs().data(), (in + 1) / 2, [&](int n, int k) {
    const uint32_t second = 2 * k + 1 < in ? bf16_bits(element(n, 2 * k + 1)) : 0;
    return static_cast<int32_t>(bf16_bits(element(n, 2 * k)) | second << 16);
  });
}

void pack(const Weight& weight, const Tensor& norm) { pack(weight, norm, precision()); }

bool all_packed(const char* what, std::initializer_list<const Weight*> weights) {
  const bool packed = (*weights.begin())->is_packed();
  for (const Weight* weight : weights) {
    if (weight->is_packed() != packed)
      fail("{}: some weights are packed, and others are not", what);
    if (packed)
      check_shape(what, weight->packed,
                  {weight_panels(weight->size(0)), weight->size(1), kWeightPanel});
  }
  return packed;
}

}  // namespace mmrec::ops
