#pragma once

#include <Halide.h>

#include <functional>
#include <string>
#include <vector>

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
  return Internal::Call::make(UInt(32), "mmrec_bf16_pair",
                              {reinterpret<uint32_t>(first), reinterpret<uint32_t>(second)},
                              Internal::Call::PureExtern);
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

/// Whether an element, a function of indices, is a pair already.
template <class Element>
bool is_bf16_pair(const Element& element) {
  return element(0, 0).type() == UInt(32);
}

/// The rows of a factor a(k, m), as pairs; of pairs, the factor itself.
class Bf16Rows {
 public:
  using Element = std::function<Expr(Expr, Expr)>;

  /// `batch`: further variables that a uses through capture.
  Bf16Rows(const std::string& name, const Expr& K, const Element& a,
           const std::vector<Var>& batch = {})
      : are_whole_(bf16_pairs_are_whole(K)),
        batch_(batch),
        padded_(name + "_padded"),
        pairs_(name) {
    if (is_bf16_pair(a)) {
      given_ = a;
      return;
    }
    // An odd K: a copy with a 0 behind each row. Comparing instead would load each lane alone.
    const RDom k(0, K, name + "_k");
    copied_ = k.x;
    padded_(arguments(k_, row_)) = Internal::make_zero(a(0, 0).type());
    padded_(arguments(k, row_)) = a(k, row_);
    const auto pair_of = [&](const auto& element) {
      return bf16_pair(element(2 * pair_), element(2 * pair_ + 1));
    };
    pairs_(arguments(pair_, row_)) =
        select(are_whole_, pair_of([&](const Expr& k) { return a(k, row_); }),
               pair_of([&](const Expr& k) { return padded_(arguments(k, row_)); }));
  }

  Expr operator()(const Expr& pair, const Expr& row) const {
    return given_ ? given_(pair, row) : pairs_(arguments(pair, row));
  }

  /// Rounds what an iteration of the consumer reads.
  template <class Loop>
  void schedule_at(Func consumer, const Loop& loop, int lanes) {
    if (given_) return;
    pairs_.compute_at(consumer, loop);
    pairs_.specialize(are_whole_).vectorize(pair_, lanes, TailStrategy::GuardWithIf);
    pairs_.vectorize(pair_, lanes, TailStrategy::RoundUp);
    padded_.compute_at(consumer, loop).vectorize(k_, lanes, TailStrategy::RoundUp);
    padded_.update().reorder(copied_, row_).vectorize(copied_, lanes, TailStrategy::GuardWithIf);
  }

 private:
  std::vector<Expr> arguments(const Expr& pair, const Expr& row) const {
    std::vector<Expr> result{pair, row};
    result.insert(result.end(), batch_.begin(), batch_.end());
    return result;
  }

  Expr are_whole_;
  std::vector<Var> batch_;
  Element given_;
  Func padded_, pairs_;
  Var k_{"k_of_pairs"}, pair_{"pair"}, row_{"row_of_pairs"};
  RVar copied_;
};

/// The instructions' name in Halide's targets, for CPUs of the tier AVX-512.
inline constexpr Target::Feature kBf16Instructions = Target::AVX512_Zen4;

/// Returns sum + the products of the pairs a and b, with the CPU's instruction or, for targets that
/// have none, by operations that leave the same bits.
inline Expr bf16_dot(const Expr& sum, const Expr& a, const Expr& b, const Target& target) {
  if (target.has_feature(kBf16Instructions))
    return Internal::Call::make(Float(32), "mmrec_bf16_dot", {sum, a, b},
                                Internal::Call::PureExtern);
  return fma(bf16_first(a), bf16_first(b), fma(bf16_second(a), bf16_second(b), sum));
}

/// Turns vectors of the calls above into operations of vectors, which a definition, where operands
/// are scalars, cannot say.
class LowerBf16 : public Internal::IRMutator {
 private:
  using IRMutator::visit;

  Expr visit(const Internal::Call* call) override {
    if (call->name == "mmrec_bf16_dot")
      return dot(mutate(call->args[0]), mutate(call->args[1]), mutate(call->args[2]));
    if (call->name == "mmrec_bf16_pair") return pair(mutate(call->args[0]), mutate(call->args[1]));
    return IRMutator::visit(call);
  }

  /// What Halide knows as the instruction.
  static Expr dot(const Expr& sum, const Expr& a, const Expr& b) {
    const int lanes = sum.type().lanes();
    const auto factors = [&](const Expr& pairs) {
      return Internal::Cast::make(Float(32, 2 * lanes), reinterpret(BFloat(16, 2 * lanes), pairs));
    };
    return sum + Internal::VectorReduce::make(Internal::VectorReduce::Add, factors(a) * factors(b),
                                              lanes);
  }

  static Expr pair(const Expr& first, const Expr& second) {
    const Expr together = neighbours(first, second);
    return together.defined() ? rounded_neighbours(together) : rounded(first, second);
  }

  /// Returns the vector of whose elements `first` has all with even and `second` all with odd
  /// numbers, if there is one.
  static Expr neighbours(const Expr& first, const Expr& second) {
    const auto elements_from = [](const Expr& vector, int begin) -> Expr {
      const auto* bits = vector.as<Internal::Reinterpret>();
      const auto* slice = bits ? bits->value.as<Internal::Shuffle>() : nullptr;
      return slice && slice->is_slice() && slice->slice_stride() == 2 &&
                     slice->slice_begin() == begin && slice->vectors.size() == 1 &&
                     slice->vectors[0].type().lanes() == 2 * vector.type().lanes()
                 ? slice->vectors[0]
                 : Expr();
    };
    const Expr even = elements_from(first, 0), odd = elements_from(second, 1);
    return even.defined() && odd.defined() && Internal::equal(even, odd) ? even : Expr();
  }

  /// The upper halves are what remains of the elements, in their order.
  static Expr rounded_neighbours(const Expr& elements) {
    const int lanes = elements.type().lanes();
    const Expr bits = reinterpret(UInt(32, lanes), elements);
    const auto constant = [&](uint32_t value) { return Internal::make_const(bits.type(), value); };
    const Expr sum = bits + (constant(0x7fff) + ((bits >> constant(16)) & constant(1)));
    return reinterpret(
        UInt(32, lanes / 2),
        Internal::Shuffle::make_slice(reinterpret(UInt(16, 2 * lanes), sum), 1, 2, lanes));
  }

  /// Rounds both elements of a pair at once, in lanes of 16 bits: half of the operations. The upper
  /// half of a float's bits is incremented if the lower one + 0x7fff + the upper one's last bit
  /// carries, which the sum's half has as its highest bit.
  static Expr rounded(const Expr& first, const Expr& second) {
    const int lanes = first.type().lanes();
    const Type whole = UInt(32, lanes), half = UInt(16, 2 * lanes);
    const auto both = [&](const Expr& lower, const Expr& upper) {
      return reinterpret(half, lower | upper);
    };
    const auto constant = [](Type type, uint32_t value) {
      return Internal::make_const(type, value);
    };
    const Expr bits = constant(whole, 16),
               upper = both(first >> bits, second & constant(whole, 0xffff0000u)),
               lower = both(first & constant(whole, 0xffff), second << bits),
               last_bit = upper & constant(half, 1),
               carry = rounding_halving_add(lower, last_bit | constant(half, 0x7ffe)) >>
                       constant(half, 15);
    return reinterpret(whole, upper + carry);
  }
};

}  // namespace mmrec::generators
