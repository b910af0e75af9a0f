#pragma once

#include <Halide.h>

namespace mmrec::generators {

using Halide::Expr;

/// A dropout mask as the kernels' arguments give it (ops::Dropout): threshold 0 keeps everything.
struct DropoutMask {
  Expr key_low, key_high;  // uint32
  Expr threshold;          // uint32: an element is dropped where its bits are below
  Expr keep_scale;         // float: 1 / (1 - p)

  /// The factor of element `index`: the same bits as dropout_bits in runtime/rng.h.
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
