// Muon's momentum in one pass over a matrix (runtime/ops/muon.h): 16 bytes of memory traffic per
// element.
#include "generators/common/kernel_generator.h"

namespace mmrec::generators {

class MuonPlainMomentum : public KernelGenerator<MuonPlainMomentum> {
 public:
  Input<Buffer<float, 2>> gradient{"gradient"}, moment_in{"moment_in"};
  Input<float> momentum{"momentum"}, gradient_scale{"gradient_scale"};
  Output<Func> updated{"updated", {Float(32), Float(32)}, 2};  // moment, in place, and update

  void generate() {
    start_at_zero(gradient, moment_in);
    Var n("n"), m("m");
    const Expr g = (1.f - momentum) * (gradient_scale * gradient(n, m));
    const Expr moment = momentum * moment_in(n, m) + g;
    updated(n, m) = Tuple(moment, momentum * moment + g);
    start_at_zero(Func(updated));
    schedule_rows(updated, n, m);
  }
};

}  // namespace mmrec::generators

HALIDE_REGISTER_GENERATOR(mmrec::generators::MuonPlainMomentum, muon_plain_momentum)
