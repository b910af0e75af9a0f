#pragma once

#include <Halide.h>

#include <cstdlib>
#include <string>

#include "support/error.h"

namespace mmrec::generators {

/// Bits of a vector register that kernels for RISC-V need. The CPU may have more.
inline constexpr int kRiscvVectorBits = 256;

/// Returns the target that makes Halide write vectors of a fixed size for RISC-V, whose
/// multiply-adds (contract.h) LLVM finds; other targets stay as they are. Halide takes scalable
/// vectors where a vector is a multiple of the target's: of 2^17 bits none is, nor has LLVM a name
/// for such CPUs, whose width it gets here.
inline Halide::Target with_fixed_vectors(Halide::Target target) {
  if (target.arch != Halide::Target::RISCV) return target;
  if (target.vector_bits != kRiscvVectorBits)
    fail_usage("MMREC_TARGET: kernels for RISC-V are for vector_bits_{}, not {}", kRiscvVectorBits,
               target.vector_bits);
  const std::string width = std::to_string(kRiscvVectorBits);
  ::setenv("HL_LLVM_ARGS",
           ("-riscv-v-vector-bits-min=" + width + " -riscv-v-vector-bits-max=65536").c_str(), 1);
  target.vector_bits = 1 << 17;
  return target;
}

/// Gives vectors that are chosen as a whole a condition for each lane: the code that Halide writes
/// for RISC-V does not know the other kind.
class ConditionOfEachLane : public Halide::Internal::IRMutator {
 private:
  using IRMutator::visit;

  Halide::Expr visit(const Halide::Internal::Select* select) override {
    using namespace Halide::Internal;
    Halide::Expr condition = mutate(select->condition);
    const Halide::Expr yes = mutate(select->true_value), no = mutate(select->false_value);
    if (const auto* same = condition.as<Broadcast>()) condition = same->value;
    if (const int lanes = yes.type().lanes(); condition.type().lanes() < lanes) {
      // not the broadcast condition, which Halide takes for a single one
      const Halide::Expr number = Halide::cast<int32_t>(condition);
      condition = NE::make(Broadcast::make(number, lanes), make_zero(Halide::Int(32, lanes)));
    }
    return Select::make(condition, yes, no);
  }
};

}  // namespace mmrec::generators
