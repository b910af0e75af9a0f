#pragma once

#include <Halide.h>

#include <string>
#include <utility>

namespace mmrec::generators {

/// Returns a b + c, rounded once. Halide 21 has no operation for it, and calls LLVM's lane by lane;
/// LLVM makes vectors of that.
inline Halide::Expr fma(const Halide::Expr& a, const Halide::Expr& b, const Halide::Expr& c) {
  using Halide::Internal::Call;
  return Call::make(Halide::Float(32), "llvm.fma.f32", {a, b, c}, Call::PureExtern);
}

/// Decides which operations of a pipeline's definitions are rounded, so that a kernel gives the
/// same bits on every CPU: a product that is added to or subtracted from something in the same
/// definition becomes a fused multiply-add, and exp and log become the operations that they consist
/// of. The target feature strict_float keeps Halide and LLVM from choosing themselves, by the
/// schedule and the instructions that there are.
class Contract : public Halide::Internal::IRGraphMutator {
 private:
  using Expr = Halide::Expr;
  using IRGraphMutator::visit;

  Expr visit(const Halide::Internal::Add* sum) override {
    if (!is_float(sum)) return IRGraphMutator::visit(sum);
    const Expr a = mutate(sum->a), b = mutate(sum->b);
    if (const auto* product = product_of(a)) return fma(product->a, product->b, b);
    if (const auto* product = product_of(b)) return fma(product->a, product->b, a);
    return a + b;
  }

  Expr visit(const Halide::Internal::Sub* difference) override {
    // 0 - x is how Halide writes -x
    if (!is_float(difference) || Halide::Internal::is_const_zero(difference->a))
      return IRGraphMutator::visit(difference);
    const Expr a = mutate(difference->a), b = mutate(difference->b);
    if (const auto* product = product_of(a)) return fma(product->a, product->b, negative(b));
    if (const auto* product = product_of(b)) return fma(negative(product->a), product->b, a);
    return a - b;
  }

  Expr visit(const Halide::Internal::Call* call) override {
    if (call->call_type != Halide::Internal::Call::PureExtern) return IRGraphMutator::visit(call);
    if (call->name == "exp_f32") return mutate(Halide::Internal::halide_exp(call->args[0]));
    if (call->name == "log_f32") return mutate(Halide::Internal::halide_log(call->args[0]));
    // within exp; LLVM makes vectors of any size of it, Halide of at most 8
    if (call->name == "floor_f32")
      return Halide::Internal::Call::make(Halide::Float(32), "llvm.floor.f32",
                                          {mutate(call->args[0])},
                                          Halide::Internal::Call::PureExtern);
    return IRGraphMutator::visit(call);
  }

  /// Halide keeps what a definition uses twice in a variable, where a product would not be seen.
  Expr visit(const Halide::Internal::Let* let) override {
    return common_subexpression_elimination(mutate(Halide::Internal::substitute_in_all_lets(let)));
  }

  template <class Operation>
  static bool is_float(const Operation* operation) {
    return operation->type == Halide::Float(32);
  }

  static const Halide::Internal::Mul* product_of(const Expr& term) {
    return term.as<Halide::Internal::Mul>();
  }

  /// LLVM negates for a product by -1.
  static Expr negative(const Expr& x) { return x * -1.f; }
};

/// Applies Contract to all definitions, if the target has strict_float and fused multiply-adds. (An
/// x86 CPU without these has bits of its own, but with strict_float they do not depend on the
/// schedule either.)
inline void contract(const Halide::Pipeline& pipeline, const Halide::Target& target) {
  using Halide::Target;
  if (!target.has_feature(Target::StrictFloat) ||
      (target.arch == Target::X86 && !target.has_feature(Target::FMA)))
    return;
  std::vector<Halide::Internal::Function> outputs;
  for (const Halide::Func& output : pipeline.outputs()) outputs.push_back(output.function());
  Contract contract;
  for (auto& [name, function] : Halide::Internal::build_environment(outputs))
    function.mutate(&contract);
}

}  // namespace mmrec::generators
