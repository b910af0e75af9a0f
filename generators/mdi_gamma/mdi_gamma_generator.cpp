// The two small MLPs of MDI's gamma, gm = clamp(sigmoid(G2 gelu(G1 z)) sigmoid(C2 gelu(C1 k))), and
// their gradients (runtime/ops/mdi_gamma.h). Fused: biases and sigmoids are in the epilogues of the
// matrix products; backward computes both sigmoids' derivatives in one pass, before the products
// that use them.
#include <utility>

#include "generators/common/activations.h"
#include "generators/common/fusible.h"
#include "generators/constants/constants.h"

namespace mmrec::generators {

template <class T, bool packed>
class MdiGammaForwardOf : public FusibleGenerator<T> {
 public:
  GeneratorInput<Buffer<float, 2>> z{"z"}, k{"k"};
  WeightInput<T, packed> gamma_in{this, "gamma_in"};
  GeneratorInput<Buffer<float, 1>> gamma_in_bias{"gamma_in_bias"};
  WeightInput<T, packed> gamma_out{this, "gamma_out"};
  GeneratorInput<Buffer<float, 1>> gamma_out_bias{"gamma_out_bias"};
  WeightInput<T, packed> context_in{this, "context_in"};
  GeneratorInput<Buffer<float, 1>> context_in_bias{"context_in_bias"};
  WeightInput<T, packed> context_out{this, "context_out"};
  GeneratorInput<Buffer<float, 1>> context_out_bias{"context_out_bias"};
  GeneratorOutput<Buffer<float, 2>> gamma_hidden{"gamma_hidden"}, context_hidden{"context_hidden"};
  GeneratorOutput<Buffer<float, 2>> gamma_sigmoid{"gamma_sigmoid"},
      context_sigmoid{"context_sigmoid"}, gm{"gm"};

  void generate() {
    start_at_zero(z, k, gamma_in, gamma_in_bias, gamma_out, gamma_out_bias, context_in,
                  context_in_bias, context_out, context_out_bias);
    start_at_zero(gamma_hidden, context_hidden, gamma_sigmoid, context_sigmoid, gm);
    Var d("d"), r("r"), n("n");
    const Expr N = gm.dim(1).extent(), D = gm.dim(0).extent(), R = gamma_in_bias.dim(0).extent();
    auto mlp = [&](const std::string& name, Func x, const auto& in, Func in_bias, const auto& out,
                   Func out_bias, auto& hidden, auto& factor) {
      Matmul first(
          name + "_in", N, R, D, [&](Expr i, Expr row) { return x(i, row); },
          [&](Expr column, Expr i) { return in.at(i, column, this->lanes()); },
          this->tile(Epilogue::kLight, packed));
      Func first_sum(name + "_in_sum"), activated(name + "_activated");
      first_sum(r, n) = in.scaled(first(r, n), r, this->lanes());
      hidden(r, n) = first_sum(r, n) + in_bias(r);
      this->schedule_product(first, {first_sum, hidden}, {r, n, R, N});
      activated(r, n) = gelu(hidden(r, n));
      this->schedule_rows(activated, r, n);
      Matmul second(
          name + "_out", N, D, R, [&](Expr i, Expr row) { return activated(i, row); },
          [&](Expr column, Expr i) { return out.at(i, column, this->lanes()); },
          this->tile(Epilogue::kHeavy, packed, 6));
      Func second_sum(name + "_out_sum"), output(name + "_output");
      second_sum(d, n) = out.scaled(second(d, n), d, this->lanes());
      output(d, n) = second_sum(d, n) + out_bias(d);
      factor(d, n) = sigmoid(output(d, n));
      this->schedule_product(second, {second_sum, output, factor}, {d, n, D, N});
    };
    mlp("gamma", z, gamma_in, gamma_in_bias, gamma_out, gamma_out_bias, gamma_hidden,
        gamma_sigmoid);
    mlp("context", k, context_in, context_in_bias, context_out, context_out_bias, context_hidden,
        context_sigmoid);
    Func product("product");
    product(d, n) = gamma_sigmoid(d, n) * context_sigmoid(d, n);
    gm(d, n) = clamp(product(d, n), kMdiGammaMin, 1.f - kMdiGammaMin);

    this->schedule_steps({product}, {d, n, D, N});
    this->schedule_rows(gm, d, n);
  }
};

class MdiGammaForward : public MdiGammaForwardOf<MdiGammaForward, false> {};
class MdiGammaPacked : public MdiGammaForwardOf<MdiGammaPacked, true> {};

class MdiGammaBackward : public FusibleGenerator<MdiGammaBackward> {
 public:
  Input<Buffer<float, 2>> dgm{"dgm"};
  Input<float> dgm_scale{"dgm_scale"};
  Input<Buffer<float, 2>> dz_residual{"dz_residual"}, z{"z"}, k{"k"};
  Input<Buffer<float, 2>> gamma_in{"gamma_in"}, gamma_out{"gamma_out"}, context_in{"context_in"},
      context_out{"context_out"};
  Input<Buffer<float, 2>> gamma_hidden{"gamma_hidden"}, context_hidden{"context_hidden"};
  Input<Buffer<float, 2>> gamma_sigmoid{"gamma_sigmoid"}, context_sigmoid{"context_sigmoid"};
  Output<Buffer<float, 2>> dz{"dz"}, dk{"dk"};
  Output<Buffer<float, 2>> dgamma_in{"dgamma_in"};
  Output<Buffer<float, 1>> dgamma_in_bias{"dgamma_in_bias"};
  Output<Buffer<float, 2>> dgamma_out{"dgamma_out"};
  Output<Buffer<float, 1>> dgamma_out_bias{"dgamma_out_bias"};
  Output<Buffer<float, 2>> dcontext_in{"dcontext_in"};
  Output<Buffer<float, 1>> dcontext_in_bias{"dcontext_in_bias"};
  Output<Buffer<float, 2>> dcontext_out{"dcontext_out"};
  Output<Buffer<float, 1>> dcontext_out_bias{"dcontext_out_bias"};

  void generate() {
    start_at_zero(dgm, dz_residual, z, k, gamma_in, gamma_out, context_in, context_out,
                  gamma_hidden, context_hidden, gamma_sigmoid, context_sigmoid);
    start_at_zero(dz, dk, dgamma_in, dgamma_in_bias, dgamma_out, dgamma_out_bias, dcontext_in,
                  dcontext_in_bias, dcontext_out, dcontext_out_bias);
    Var d("d"), r("r"), n("n");
    const Expr N = dz.dim(1).extent(), D = dz.dim(0).extent(), R = dgamma_in_bias.dim(0).extent();
    const auto [dgamma, dcontext] = before_sigmoids(d, n, D, N);

    // Defines one MLP's weight gradients from dout, the gradient of its output. Returns the
    // gradient of its input.
    const RDom row(0, N);
    auto mlp = [&](const std::string& name, Func dout, Func x, Func hidden, Func in, Func out,
                   auto& din, auto& din_bias, auto& dout_weight, auto& dout_bias) {
      Matmul into_hidden(
          name + "_into_hidden", N, R, D, [&](Expr i, Expr m) { return dout(i, m); },
          [&](Expr column, Expr i) { return out(column, i); }, tile(Epilogue::kHeavy));
      Func dactivated(name + "_dactivated"), dhidden(name + "_dhidden"),
          activated(name + "_activated");
      dactivated(r, n) = into_hidden(r, n);
      dhidden(r, n) = dactivated(r, n) * gelu_derivative(hidden(r, n));
      schedule_product(into_hidden, {dactivated, dhidden}, {r, n, R, N});
      activated(r, n) = gelu(hidden(r, n));
      schedule_steps({activated}, {r, n, R, N});

      Matmul into_out(
          name + "_into_out", D, R, N, [&](Expr i, Expr m) { return dout(m, i); },
          [&](Expr column, Expr i) { return activated(column, i); }, tile_over_rows());
      into_out.add_to(dout_weight, r, d, into_out(r, d));
      Matmul into_in(
          name + "_into_in", R, D, N, [&](Expr i, Expr m) { return dhidden(m, i); },
          [&](Expr column, Expr i) { return x(column, i); }, tile_over_rows());
      into_in.add_to(din, d, r, into_in(d, r));
      add_column_sum(dout_bias, dout, d, row);
      add_column_sum(din_bias, dhidden, r, row);
      return Matmul(
          name + "_into_x", N, D, R, [&](Expr i, Expr m) { return dhidden(i, m); },
          [&](Expr column, Expr i) { return in(column, i); }, tile());
    };
    Matmul into_z = mlp("gamma", dgamma, z, gamma_hidden, gamma_in, gamma_out, dgamma_in,
                        dgamma_in_bias, dgamma_out, dgamma_out_bias);
    Matmul into_k = mlp("context", dcontext, k, context_hidden, context_in, context_out,
                        dcontext_in, dcontext_in_bias, dcontext_out, dcontext_out_bias);
    Func into_z_sum("into_z_sum");
    into_z_sum(d, n) = into_z(d, n);
    dz(d, n) = dz_residual(d, n) + into_z_sum(d, n);
    dk(d, n) = into_k(d, n);
    schedule_product(into_z, {into_z_sum, dz}, {d, n, D, N});
    into_k.schedule(dk, d, n);
  }

 private:
  /// Returns the gradients of both MLPs before their sigmoids; fused: computed in one pass.
  std::pair<Func, Func> before_sigmoids(Var d, Var n, const Expr& D, const Expr& N) {
    Func scaled("scaled"), dproduct("dproduct"), dgamma_sigmoid("dgamma_sigmoid"),
        dcontext_sigmoid("dcontext_sigmoid");
    Func dsum("dsum"), dgamma("dgamma"), dcontext("dcontext");
    const Expr g = gamma_sigmoid(d, n), c = context_sigmoid(d, n);
    scaled(d, n) = dgm_scale * dgm(d, n);
    dproduct(d, n) =
        select(g * c >= kMdiGammaMin && g * c <= 1.f - kMdiGammaMin, scaled(d, n), 0.f);
    dgamma_sigmoid(d, n) = dproduct(d, n) * c;
    dcontext_sigmoid(d, n) = dproduct(d, n) * g;
    dsum(d, n) =
        Tuple(dgamma_sigmoid(d, n) * g * (1.f - g), dcontext_sigmoid(d, n) * c * (1.f - c));
    dgamma(d, n) = dsum(d, n)[0];
    dcontext(d, n) = dsum(d, n)[1];
    if (fused) schedule_rows(dsum, d, n);
    schedule_steps({scaled, dproduct, dgamma_sigmoid, dcontext_sigmoid, dgamma, dcontext},
                   {d, n, D, N});
    return {dgamma, dcontext};
  }
};

}  // namespace mmrec::generators

HALIDE_REGISTER_GENERATOR(mmrec::generators::MdiGammaForward, mdi_gamma_forward)
HALIDE_REGISTER_GENERATOR(mmrec::generators::MdiGammaPacked, mdi_gamma_few_packed)
HALIDE_REGISTER_GENERATOR(mmrec::generators::MdiGammaBackward, mdi_gamma_backward)
