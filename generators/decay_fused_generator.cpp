// The decay's two small MLPs, gm = clamp(sigmoid(G2 gelu(G1 z)) sigmoid(C2 gelu(C1 k))), and their gradients
// (runtime/ops/decay.h). Sigmoids, their product and the clamp are in the second matmul's epilogue; the backward pass has the
// sigmoids' derivatives ahead of the matmuls that use them.
#include "generators/common/activations.h"
#include "generators/common/matmul.h"

namespace mmrec::generators {

namespace {

constexpr float kDecayMin = 1e-6f;  // ops::kDecayMin

}  // namespace

class DecayFusedForward : public MatmulGenerator<DecayFusedForward> {
 public:
  Input<Buffer<float, 2>> z{"z"}, k{"k"};
  Input<Buffer<float, 2>> gamma_in{"gamma_in"};
  Input<Buffer<float, 1>> gamma_in_bias{"gamma_in_bias"};
  Input<Buffer<float, 2>> gamma_out{"gamma_out"};
  Input<Buffer<float, 1>> gamma_out_bias{"gamma_out_bias"};
  Input<Buffer<float, 2>> context_in{"context_in"};
  Input<Buffer<float, 1>> context_in_bias{"context_in_bias"};
  Input<Buffer<float, 2>> context_out{"context_out"};
  Input<Buffer<float, 1>> context_out_bias{"context_out_bias"};
  Output<Buffer<float, 2>> gamma_hidden{"gamma_hidden"}, context_hidden{"context_hidden"};
  Output<Buffer<float, 2>> gamma_sigmoid{"gamma_sigmoid"}, context_sigmoid{"context_sigmoid"}, gm{"gm"};

  void generate() {
    start_at_zero(z, k, gamma_in, gamma_in_bias, gamma_out, gamma_out_bias, context_in, context_in_bias, context_out, context_out_bias);
    start_at_zero(gamma_hidden, context_hidden, gamma_sigmoid, context_sigmoid, gm);
    Var d("d"), r("r"), n("n");
    const Expr N = gm.dim(1).extent(), D = gm.dim(0).extent(), R = gamma_in_bias.dim(0).extent();
    // The first layer of one MLP into its hidden values; what is returned is the second layer, without bias.
    auto mlp = [&](const std::string& name, Func x, Func in, Func in_bias, Func out, auto& hidden) {
      Matmul first(
          name + "_in", N, R, D, [&](Expr i, Expr row) { return x(i, row); }, [&](Expr column, Expr i) { return in(i, column); }, tile());
      hidden(r, n) = first(r, n) + in_bias(r);
      first.schedule(hidden, r, n);
      Func activated(name + "_activated");
      activated(r, n) = gelu(hidden(r, n));
      schedule_rows(activated, r, n);
      return Matmul(
          name + "_out", N, D, R, [&](Expr i, Expr row) { return activated(i, row); }, [&](Expr column, Expr i) { return out(i, column); }, tile());
    };
    Matmul gamma = mlp("gamma", z, gamma_in, gamma_in_bias, gamma_out, gamma_hidden);
    Matmul context = mlp("context", k, context_in, context_in_bias, context_out, context_hidden);
    gamma_sigmoid(d, n) = sigmoid(gamma(d, n) + gamma_out_bias(d));
    context_sigmoid(d, n) = sigmoid(context(d, n) + context_out_bias(d));
    gm(d, n) = clamp(gamma_sigmoid(d, n) * context_sigmoid(d, n), kDecayMin, 1.f - kDecayMin);

    gamma.schedule(gamma_sigmoid, d, n, Matmul::Epilogue::kHeavy);
    context.schedule(context_sigmoid, d, n, Matmul::Epilogue::kHeavy);
    schedule_rows(gm, d, n);
  }
};

class DecayFusedBackward : public MatmulGenerator<DecayFusedBackward> {
 public:
  Input<Buffer<float, 2>> dgm{"dgm"};
  Input<float> dgm_scale{"dgm_scale"};
  Input<Buffer<float, 2>> dz_residual{"dz_residual"}, z{"z"}, k{"k"};
  Input<Buffer<float, 2>> gamma_in{"gamma_in"}, gamma_out{"gamma_out"}, context_in{"context_in"}, context_out{"context_out"};
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
    start_at_zero(dgm, dz_residual, z, k, gamma_in, gamma_out, context_in, context_out, gamma_hidden, context_hidden, gamma_sigmoid, context_sigmoid);
    start_at_zero(dz, dk, dgamma_in, dgamma_in_bias, dgamma_out, dgamma_out_bias, dcontext_in, dcontext_in_bias, dcontext_out, dcontext_out_bias);
    Var d("d"), r("r"), n("n");
    const Expr N = dz.dim(1).extent(), D = dz.dim(0).extent(), R = dgamma_in_bias.dim(0).extent();

    // Both MLPs' gradients before the sigmoids, in one pass.
    Func dsum("dsum"), dgamma("dgamma"), dcontext("dcontext");
    const Expr g = gamma_sigmoid(d, n), c = context_sigmoid(d, n);
    const Expr dproduct = select(g * c >= kDecayMin && g * c <= 1.f - kDecayMin, dgm_scale * dgm(d, n), 0.f);
    dsum(d, n) = Tuple(dproduct * c * g * (1.f - g), dproduct * g * c * (1.f - c));
    dgamma(d, n) = dsum(d, n)[0];
    dcontext(d, n) = dsum(d, n)[1];
    schedule_rows(dsum, d, n);

    // The gradients of one MLP's weights from dout, the gradient in its output; what is returned is the one in its input.
    const RDom row(0, N);
    auto sum_rows = [&](auto& sum, Func f, Var column) {
      sum(column) = 0.f;
      sum(column) += f(column, row);
      schedule_column_sum(sum, column, row);
    };
    auto mlp = [&](const std::string& name, Func dout, Func x, Func hidden, Func in, Func out, auto& din, auto& din_bias, auto& dout_weight,
                   auto& dout_bias) {
      Matmul into_hidden(
          name + "_into_hidden", N, R, D, [&](Expr i, Expr m) { return dout(i, m); }, [&](Expr column, Expr i) { return out(column, i); }, tile());
      Func dhidden(name + "_dhidden");
      dhidden(r, n) = into_hidden(r, n) * gelu_derivative(hidden(r, n));
      into_hidden.schedule(dhidden, r, n, Matmul::Epilogue::kHeavy);

      Matmul into_out(
          name + "_into_out", D, R, N, [&](Expr i, Expr m) { return dout(m, i); }, [&](Expr column, Expr i) { return gelu(hidden(column, i)); },
          tile());
      dout_weight(r, d) = into_out(r, d);
      into_out.schedule(dout_weight, r, d);
      Matmul into_in(
          name + "_into_in", R, D, N, [&](Expr i, Expr m) { return dhidden(m, i); }, [&](Expr column, Expr i) { return x(column, i); }, tile());
      din(d, r) = into_in(d, r);
      into_in.schedule(din, d, r);
      sum_rows(dout_bias, dout, d);
      sum_rows(din_bias, dhidden, r);
      return Matmul(
          name + "_into_x", N, D, R, [&](Expr i, Expr m) { return dhidden(i, m); }, [&](Expr column, Expr i) { return in(column, i); }, tile());
    };
    Matmul into_z = mlp("gamma", dgamma, z, gamma_hidden, gamma_in, gamma_out, dgamma_in, dgamma_in_bias, dgamma_out, dgamma_out_bias);
    Matmul into_k =
        mlp("context", dcontext, k, context_hidden, context_in, context_out, dcontext_in, dcontext_in_bias, dcontext_out, dcontext_out_bias);
    dz(d, n) = dz_residual(d, n) + into_z(d, n);
    dk(d, n) = into_k(d, n);
    into_z.schedule(dz, d, n);
    into_k.schedule(dk, d, n);
  }
};

}  // namespace mmrec::generators

HALIDE_REGISTER_GENERATOR(mmrec::generators::DecayFusedForward, decay_fused_forward)
HALIDE_REGISTER_GENERATOR(mmrec::generators::DecayFusedBackward, decay_fused_backward)
