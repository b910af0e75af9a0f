#pragma once

#include <Halide.h>

namespace mmrec::generators {

using Halide::Expr;

/// A dropout mask, as passed to the kernels (ops::Dropout). Threshold 0 keeps all elements.
struct DropoutMask {
  Expr key_low, key_high;  // uint32
  Expr threshold;          // uint32; elements whose bits are below are dropped
  Expr keep_scale;         // float: 1 / (1 - p)

  /// The factor of element `index`. Same bits as dropout_bits in runtime/rng.h.
  Expr operator()(Expr index) const {
    auto avalanche = [](Expr x) {
      x = (x ^ (x >> 16)) * Expr(0x21f0aaadu);
      x = (x ^ (x >> 15)) * Expr(0xd35a2d97u);
      return x ^ (x >> 15);
    };
    const Expr bits = avalanche(avalanche(Halide::cast<uint32_t>(index) + key_low) + key_high);
    return Halide::select(bits >= threshold, keep_scale, 0.f);
  }
};

}  // namespace mmrec::generators
