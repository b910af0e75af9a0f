#pragma once

#include <Halide.h>

#include "generators/common/contract.h"

// Products whose factors are bfloat16 and whose sums are float. CPUs multiply two such factors at a
// time: x + a b of the second elements of two pairs, then that of the first, both fused and rounded
// to nearest, with denormals taken as zero. So a pair is one element here, a uint32_t, and k counts
// pairs.
namespace mmrec::generators {

using namespace Halide;

/// The bits of a float whose upper half is the nearest bfloat16 (ties to even). (Adding to the bits
/// could turn NaNs into numbers, but not those that a CPU's arithmetic makes.)
inline Expr bf16_rounded(const Expr& x) {
  const Expr bits = reinterpret<uint32_t>(x);
  return bits + (0x7fff + ((bits >> 16) & 1));
}

/// A bfloat16 in memory is a uint16_t: returns a float's nearest, and its value.
inline Expr to_bf16(const Expr& x) { return cast<uint16_t>(bf16_rounded(x) >> 16); }
inline Expr from_bf16(const Expr& x) { return reinterpret<float>(cast<uint32_t>(x) << 16); }

/// Returns two numbers as a pair; `first` in the lower half. Each is a float, which is rounded, or
/// a bfloat16.
inline Expr bf16_pair(const Expr& first, const Expr& second) {
  if (first.type() == UInt(16)) return cast<uint32_t>(first) | (cast<uint32_t>(second) << 16);
  return (bf16_rounded(first) >> 16) | (bf16_rounded(second) & Expr(0xffff0000u));
}

/// Whether elements along an extent all have a partner: the condition to specialize a stage by that
/// evaluates bf16_pair_of, which then compares nothing.
inline Expr bf16_pairs_are_whole(const Expr& extent) { return extent % 2 == 0; }

/// Returns pair `index` of the elements along an extent. What an odd extent lacks is 0.
template <class Element>
Expr bf16_pair_of(const Expr& extent, const Expr& index, const Element& element) {
  const Expr whole = bf16_pairs_are_whole(extent);
  const Expr second = select(whole, 2 * index + 1, min(2 * index + 1, extent - 1)),
             value = element(second);
  return bf16_pair(element(2 * index), select(whole || 2 * index + 1 < extent, value,
                                              Internal::make_zero(value.type())));
}

/// The elements of a pair, as floats.
inline Expr bf16_first(const Expr& pair) { return reinterpret<float>(pair << 16); }
inline Expr bf16_second(const Expr& pair) { return reinterpret<float>(pair & Expr(0xffff0000u)); }

/// The instructions' name in Halide's targets, for CPUs of the tier AVX-512.
inline constexpr Target::Feature kBf16Instructions = Target::AVX512_Zen4;

/// Returns sum + the products of the pairs a and b, by operations that leave the same bits as the
/// CPU's instruction.
inline Expr bf16_fma(const Expr& sum, const Expr& a, const Expr& b) {
  return fma(bf16_first(a), bf16_first(b), fma(bf16_second(a), bf16_second(b), sum));
}

/// The same with the instruction, for targets that have it.
inline Expr bf16_dot(const Expr& sum, const Expr& a, const Expr& b, const Target& target) {
  if (target.has_feature(kBf16Instructions))
    return Internal::Call::make(Float(32), "mmrec_bf16_dot", {sum, a, b},
                                Internal::Call::PureExtern);
  return bf16_fma(sum, a, b);
}

/// Turns vectors of bf16_dot's calls into what Halide knows as the instruction. A definition cannot
/// say that, because there the operands are scalars.
class LowerBf16Dot : public Internal::IRMutator {
 private:
  using IRMutator::visit;

  Expr visit(const Internal::Call* call) override {
    if (call->name != "mmrec_bf16_dot") return IRMutator::visit(call);
    const int lanes = call->type.lanes();
    if (lanes == 1)
      return bf16_fma(mutate(call->args[0]), mutate(call->args[1]), mutate(call->args[2]));
    const auto factors = [&](const Expr& pairs) {
      return Internal::Cast::make(Float(32, 2 * lanes),
                                  reinterpret(BFloat(16, 2 * lanes), mutate(pairs)));
    };
    return mutate(call->args[0]) +
           Internal::VectorReduce::make(Internal::VectorReduce::Add,
                                        factors(call->args[1]) * factors(call->args[2]), lanes);
  }
};

}  // namespace mmrec::generators
