#pragma once

#include "model/parameters.h"
#include "runtime/arena.h"
#include "runtime/ops/ffn.h"

namespace mmrec {

/// F, the hidden width of a block's feed-forward half.
constexpr int ffn_width(int D) { return 4 * D; }

/// Multiply-adds per position of the two matrix products.
constexpr double ffn_products(double D) { return 2 * ffn_width(1) * D * D; }

/// Declares the feed-forward parameters. `norm` must be declared already.
inline ops::FfnWeights declare_ffn(const Tensor& norm, const ParameterScope& p, int D) {
  using enum Role;
  const Linear in = p.linear("ffn.0", ffn_width(D), D, {{kUnits}, {kChannels}}),
               out = p.linear("ffn.3", D, ffn_width(D), {{kChannels}, {kUnits}});
  return {norm, in.weight, in.bias, out.weight, out.bias};
}

inline ops::FfnSaved lay_out_ffn(int N, int D, Arena& arena, Precision precision) {
  const int F = ffn_width(D);
  return {arena.tensor({N}), arena.saved({N, F}, precision), arena.saved({N, F}, precision)};
}

}  // namespace mmrec
