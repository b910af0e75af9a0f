#pragma once

#include <Halide.h>

#include "generators/constants/constants.h"

// Weights of int8: an output's are s q, with one scale s for all its inputs and whole numbers q
// from -127 to 127. Sums are of the products with q, in float, and the finished sum is multiplied
// by s: so a kernel takes no more instructions for a weight than to make a float of it.
namespace mmrec::generators {

using namespace Halide;

/// Returns the scale of an output: byte(i) is its i-th byte.
template <class Byte>
Expr int8_scale(const Byte& byte) {
  Expr bits = cast<uint32_t>(0);
  for (int i = 0; i < kInt8ScaleRows; ++i)
    bits = bits | cast<uint32_t>(reinterpret<uint8_t>(byte(i))) << (8 * i);
  return reinterpret<float>(bits);
}

}  // namespace mmrec::generators
