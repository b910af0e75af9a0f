// DPG's decay, gamma = clamp(sigmoid(Up relu(Down z))), a low-rank layer, and its gradients
// (runtime/ops/dpg_gamma.h). Fused: biases, relu, sigmoid, clamp and the residual are in the
// epilogues of the matrix products.
#include "generators/common/activations.h"
#include "generators/common/fusible.h"
#include "generators/constants/constants.h"

namespace mmrec::generators {

template <class T, bool packed>
class DpgGammaForwardOf : public FusibleGenerator<T> {
 public:
  GeneratorInput<Buffer<float, 2>> z{"z"};
  WeightInput<T, packed> down{this, "down"};
  GeneratorInput<Buffer<float, 1>> down_bias{"down_bias"};
  WeightInput<T, packed> up{this, "up"};
  GeneratorInput<Buffer<float, 1>> up_bias{"up_bias"};
  GeneratorOutput<Buffer<float, 2>> hidden{"hidden"}, gamma{"gamma"};

  void generate() {
    start_at_zero(z, down, down_bias, up, up_bias, hidden, gamma);
    Var d("d"), r("r"), n("n");
    const Expr N = gamma.dim(1).extent(), D = gamma.dim(0).extent(), R = down_bias.dim(0).extent();
    Matmul into_hidden(
        "into_hidden", N, R, D, [&](Expr i, Expr row) { return z(i, row); },
        [&](Expr column, Expr i) { return down.at(i, column, this->lanes()); },
        this->tile(Epilogue::kLight, packed));
    Func down_sum("down_sum"), biased("biased");
    down_sum(r, n) = down.scaled(into_hidden(r, n), r, this->lanes());
    biased(r, n) = down_sum(r, n) + down_bias(r);
    hidden(r, n) = max(biased(r, n), 0.f);
    this->schedule_product(into_hidden, {down_sum, biased, hidden}, {r, n, R, N});

    Matmul into_gamma(
        "into_gamma", N, D, R, [&](Expr i, Expr row) { return hidden(i, row); },
        [&](Expr column, Expr i) { return up.at(i, column, this->lanes()); },
        this->tile(Epilogue::kHeavy, packed, 6));
    Func up_sum("up_sum"), output("output"), factor("factor");
    up_sum(d, n) = up.scaled(into_gamma(d, n), d, this->lanes());
    output(d, n) = up_sum(d, n) + up_bias(d);
    factor(d, n) = sigmoid(output(d, n));
    gamma(d, n) = clamp(factor(d, n), kMdiGammaMin, 1.f - kMdiGammaMin);
    this->schedule_product(into_gamma, {up_sum, output, factor, gamma}, {d, n, D, N});
  }
};

class DpgGammaForward : public DpgGammaForwardOf<DpgGammaForward, false> {};
class DpgGammaPacked : public DpgGammaForwardOf<DpgGammaPacked, true> {};

class DpgGammaBackward : public FusibleGenerator<DpgGammaBackward> {
 public:
  Input<Buffer<float, 2>> dgamma{"dgamma"}, dz_residual{"dz_residual"}, z{"z"};
  Input<Buffer<float, 2>> down{"down"}, up{"up"};
  Input<Buffer<float, 2>> hidden{"hidden"}, gamma{"gamma"};
  Output<Buffer<float, 2>> dz{"dz"};
  Output<Buffer<float, 2>> ddown{"ddown"};
  Output<Buffer<float, 1>> ddown_bias{"ddown_bias"};
  Output<Buffer<float, 2>> dup{"dup"};
  Output<Buffer<float, 1>> dup_bias{"dup_bias"};

  void generate() {
    start_at_zero(dgamma, dz_residual, z, down, up, hidden, gamma, dz, ddown, ddown_bias, dup,
                  dup_bias);
    Var d("d"), r("r"), n("n");
    const Expr N = dz.dim(1).extent(), D = dz.dim(0).extent(), R = ddown_bias.dim(0).extent();
    const RDom row(0, N);

    // No gradient where the clamp is active.
    Func dfactor("dfactor"), doutput("doutput");
    const Expr g = gamma(d, n);
    dfactor(d, n) = select(g > kMdiGammaMin && g < 1.f - kMdiGammaMin, dgamma(d, n), 0.f);
    doutput(d, n) = dfactor(d, n) * g * (1.f - g);
    schedule_steps({dfactor}, {d, n, D, N});
    schedule_rows(doutput, d, n);

    Matmul into_hidden(
        "into_hidden", N, R, D, [&](Expr i, Expr m) { return doutput(i, m); },
        [&](Expr column, Expr i) { return up(column, i); }, tile());
    Func dactivated("dactivated"), dhidden("dhidden");
    dactivated(r, n) = into_hidden(r, n);
    dhidden(r, n) = select(hidden(r, n) > 0.f, dactivated(r, n), 0.f);
    schedule_product(into_hidden, {dactivated, dhidden}, {r, n, R, N});

    Matmul into_up(
        "into_up", D, R, N, [&](Expr i, Expr m) { return doutput(m, i); },
        [&](Expr column, Expr i) { return hidden(column, i); }, tile_over_rows());
    into_up.add_to(dup, r, d, into_up(r, d));
    add_column_sum(dup_bias, doutput, d, row);
    Matmul into_down(
        "into_down", R, D, N, [&](Expr i, Expr m) { return dhidden(m, i); },
        [&](Expr column, Expr i) { return z(column, i); }, tile_over_rows());
    into_down.add_to(ddown, d, r, into_down(d, r));
    add_column_sum(ddown_bias, dhidden, r, row);

    Matmul into_z(
        "into_z", N, D, R, [&](Expr i, Expr m) { return dhidden(i, m); },
        [&](Expr column, Expr i) { return down(column, i); }, tile());
    Func into_z_sum("into_z_sum");
    into_z_sum(d, n) = into_z(d, n);
    dz(d, n) = dz_residual(d, n) + into_z_sum(d, n);
    schedule_product(into_z, {into_z_sum, dz}, {d, n, D, N});
  }
};

}  // namespace mmrec::generators

HALIDE_REGISTER_GENERATOR(mmrec::generators::DpgGammaForward, dpg_gamma_forward)
HALIDE_REGISTER_GENERATOR(mmrec::generators::DpgGammaPacked, dpg_gamma_few_packed)
HALIDE_REGISTER_GENERATOR(mmrec::generators::DpgGammaBackward, dpg_gamma_backward)
