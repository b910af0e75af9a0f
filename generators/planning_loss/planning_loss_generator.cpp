// UBOO's planning loss, the squares of E(m) - P(h_previous) with two MLPs E and P, and its
// gradients (runtime/ops/planning_loss.h). Fused: biases, gelus and the difference are in the
// epilogues of the matrix products. As in the feed-forward half, forward computes the gelu's
// derivative together with the gelu, because both use the same erf.
#include "generators/common/activations.h"
#include "generators/common/fusible.h"
#include "generators/constants/constants.h"

namespace mmrec::generators {

class PlanningLossForward : public FusibleGenerator<PlanningLossForward> {
 public:
  Input<Buffer<float, 2>> h_previous{"h_previous"}, z{"z"}, g{"g"}, gm{"gm"};
  Input<Buffer<float, 2>> error_in{"error_in"};
  Input<Buffer<float, 1>> error_in_bias{"error_in_bias"};
  Input<Buffer<float, 2>> error_out{"error_out"};
  Input<Buffer<float, 1>> error_out_bias{"error_out_bias"};
  Input<Buffer<float, 2>> target_in{"target_in"};
  Input<Buffer<float, 1>> target_in_bias{"target_in_bias"};
  Input<Buffer<float, 2>> target_out{"target_out"};
  Input<Buffer<float, 1>> target_out_bias{"target_out_bias"};
  Output<Buffer<float, 2>> m{"m"};
  Output<Func> error_inner{"error_inner", {Float(32), Float(32)}, 2};    // gelu', gelu
  Output<Func> target_inner{"target_inner", {Float(32), Float(32)}, 2};  // the same of P
  Output<Buffer<float, 2>> difference{"difference"};
  Output<Buffer<float, 1>> loss{"loss"};

  void generate() {
    start_at_zero(h_previous, z, g, gm, error_in, error_in_bias, error_out, error_out_bias,
                  target_in, target_in_bias, target_out, target_out_bias, m, difference, loss);
    Var d("d"), e("e"), n("n");
    const Expr N = m.dim(1).extent(), D = m.dim(0).extent();

    // A pass of its own: a product evaluates its left factor once for each tile of columns.
    m(d, n) = (1.f - g(d, n)) * h_previous(d, n) + g(d, n) * z(d, n) + gm(d, n) * h_previous(d, n);
    schedule_rows(m, d, n);

    // Defines the first layer of an MLP; inner = (gelu', gelu) of it. Returns the second product.
    auto mlp = [&](const std::string& name, Func x, Func in, Func in_bias, Func out, Func inner) {
      Matmul first(
          name + "_first", N, D, D, [&](Expr k, Expr row) { return x(k, row); },
          [&](Expr column, Expr k) { return in(k, column); }, tile(Epilogue::kHeavy));
      Func first_sum(name + "_first_sum"), hidden(name + "_hidden");
      first_sum(e, n) = first(e, n);
      hidden(e, n) = first_sum(e, n) + in_bias(e);
      inner(e, n) = Tuple(gelu_derivative(hidden(e, n)), gelu(hidden(e, n)));
      start_at_zero(inner);
      schedule_product(first, {first_sum, hidden, inner}, {e, n, D, N});
      return Matmul(
          name + "_second", N, D, D, [&](Expr k, Expr row) { return inner(k, row)[1]; },
          [&](Expr column, Expr k) { return out(k, column); }, tile());
    };
    Func error_sum("error_sum"), error("error"), target_sum("target_sum"), target("target");
    Matmul into_error = mlp("error", m, error_in, error_in_bias, error_out, error_inner);
    error_sum(d, n) = into_error(d, n);
    error(d, n) = error_sum(d, n) + error_out_bias(d);
    Matmul into_target =
        mlp("target", h_previous, target_in, target_in_bias, target_out, target_inner);
    target_sum(d, n) = into_target(d, n);
    target(d, n) = target_sum(d, n) + target_out_bias(d);
    difference(d, n) = error(d, n) - target(d, n);
    schedule_product(into_error, {error_sum, error}, {d, n, D, N});
    schedule_product(into_target, {target_sum, target, difference}, {d, n, D, N});

    RowReduction squares(
        "squares", RowReduction::Kind::kSum, D, {n},
        [&](Expr column) { return difference(column, n) * difference(column, n); });
    loss(n) = squares.result(n);
    Var task("task");
    Func(loss)
        .compute_root()
        .split(n, task, n, int(rows_per_task), TailStrategy::GuardWithIf)
        .parallel(task);
    squares.schedule_at(loss, n);
  }
};

class PlanningLossBackward : public FusibleGenerator<PlanningLossBackward> {
 public:
  Input<float> scale{"scale"};
  Input<Buffer<float, 2>> dh_residual{"dh_residual"}, h_previous{"h_previous"}, m{"m"};
  Input<Buffer<float, 2>> error_out{"error_out"}, target_in{"target_in"}, target_out{"target_out"};
  Input<Buffer<float, 2>> error_slope{"error_slope"}, error_activated{"error_activated"};
  Input<Buffer<float, 2>> target_slope{"target_slope"}, target_activated{"target_activated"};
  Input<Buffer<float, 2>> difference{"difference"};
  Output<Buffer<float, 2>> dh{"dh"};
  Output<Buffer<float, 2>> derror_in{"derror_in"};
  Output<Buffer<float, 1>> derror_in_bias{"derror_in_bias"};
  Output<Buffer<float, 2>> derror_out{"derror_out"};
  Output<Buffer<float, 1>> derror_out_bias{"derror_out_bias"};
  Output<Buffer<float, 2>> dtarget_in{"dtarget_in"};
  Output<Buffer<float, 1>> dtarget_in_bias{"dtarget_in_bias"};
  Output<Buffer<float, 2>> dtarget_out{"dtarget_out"};
  Output<Buffer<float, 1>> dtarget_out_bias{"dtarget_out_bias"};

  void generate() {
    start_at_zero(dh_residual, h_previous, m, error_out, target_in, target_out, error_slope,
                  error_activated, target_slope, target_activated, difference);
    start_at_zero(dh, derror_in, derror_in_bias, derror_out, derror_out_bias, dtarget_in,
                  dtarget_in_bias, dtarget_out, dtarget_out_bias);
    Var d("d"), e("e"), n("n");
    const Expr N = dh.dim(1).extent(), D = dh.dim(0).extent();
    const RDom row(0, N);

    // Defines an MLP's weight gradients; the gradient of its output is factor * difference. Returns
    // the gradient of its hidden layer.
    auto mlp = [&](const std::string& name, Expr factor, Func x, Func slope, Func activated,
                   Func out, auto& din, auto& din_bias, auto& dout, auto& dout_bias) {
      Func doutput(name + "_doutput"), dactivated(name + "_dactivated"), dhidden(name + "_dhidden");
      doutput(d, n) = factor * difference(d, n);
      schedule_rows(doutput, d, n);
      Matmul into_hidden(
          name + "_into_hidden", N, D, D, [&](Expr k, Expr r) { return doutput(k, r); },
          [&](Expr column, Expr k) { return out(column, k); }, tile());
      dactivated(e, n) = into_hidden(e, n);
      dhidden(e, n) = dactivated(e, n) * slope(e, n);
      schedule_product(into_hidden, {dactivated, dhidden}, {e, n, D, N});
      Matmul into_out(
          name + "_into_out", D, D, N, [&](Expr k, Expr r) { return doutput(r, k); },
          [&](Expr column, Expr k) { return activated(column, k); }, tile_over_rows());
      into_out.add_to(dout, e, d, into_out(e, d));
      Matmul into_in(
          name + "_into_in", D, D, N, [&](Expr k, Expr r) { return dhidden(r, k); },
          [&](Expr column, Expr k) { return x(column, k); }, tile_over_rows());
      into_in.add_to(din, d, e, into_in(d, e));
      add_column_sum(dout_bias, doutput, d, row);
      add_column_sum(din_bias, dhidden, e, row);
      return dhidden;
    };
    mlp("error", 2.f * scale, m, error_slope, error_activated, error_out, derror_in, derror_in_bias,
        derror_out, derror_out_bias);
    Func dhidden = mlp("target", -2.f * scale, h_previous, target_slope, target_activated,
                       target_out, dtarget_in, dtarget_in_bias, dtarget_out, dtarget_out_bias);
    Matmul into_h(
        "into_h", N, D, D, [&](Expr k, Expr r) { return dhidden(k, r); },
        [&](Expr column, Expr k) { return target_in(column, k); }, tile());
    Func into_h_sum("into_h_sum");
    into_h_sum(d, n) = into_h(d, n);
    dh(d, n) = dh_residual(d, n) + into_h_sum(d, n);
    schedule_product(into_h, {into_h_sum, dh}, {d, n, D, N});
  }
};

}  // namespace mmrec::generators

HALIDE_REGISTER_GENERATOR(mmrec::generators::PlanningLossForward, planning_loss_forward)
HALIDE_REGISTER_GENERATOR(mmrec::generators::PlanningLossBackward, planning_loss_backward)
