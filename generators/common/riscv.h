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

/// Goes round two errors of the code that Halide 21 writes for RISC-V.
class RiscvRepairs : public Halide::Internal::IRMutator {
 private:
  using Expr = Halide::Expr;
  using IRMutator::visit;

  /// LLVM refuses what a vector chosen by a single condition becomes.
  Expr visit(const Halide::Internal::Select* select) override {
    using namespace Halide::Internal;
    Expr condition = mutate(select->condition);
    const Expr yes = mutate(select->true_value), no = mutate(select->false_value);
    if (const auto* same = condition.as<Broadcast>()) condition = same->value;
    if (const int lanes = yes.type().lanes(); condition.type().lanes() < lanes) {
      // not the broadcast condition, which Halide takes for a single one
      const Expr number = Halide::cast<int32_t>(condition);
      condition = NE::make(Broadcast::make(number, lanes), make_zero(Halide::Int(32, lanes)));
    }
    return Select::make(condition, yes, no);
  }

  Expr visit(const Halide::Internal::Load* load) override {
    const Expr predicate = mutate(load->predicate);
    return Halide::Internal::Load::make(load->type, load->name,
                                        without_stride(mutate(load->index), predicate), load->image,
                                        load->param, predicate, load->alignment);
  }
  Halide::Internal::Stmt visit(const Halide::Internal::Store* store) override {
    const Expr predicate = mutate(store->predicate);
    return Halide::Internal::Store::make(store->name, mutate(store->value),
                                         without_stride(mutate(store->index), predicate),
                                         store->param, predicate, store->alignment);
  }

  /// With a predicate a stride of elements is taken for one of bytes. What is no ramp has no
  /// stride.
  static Expr without_stride(const Expr& index, const Expr& predicate) {
    using namespace Halide::Internal;
    const auto* ramp = index.as<Ramp>();
    if (!ramp || is_const_one(ramp->stride) || is_const_one(predicate)) return index;
    return Add::make(index, make_zero(index.type()));
  }
};

}  // namespace mmrec::generators
