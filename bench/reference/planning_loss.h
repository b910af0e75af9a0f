#pragma once

#include "bench/reference/gemm.h"
#include "runtime/ops/planning_loss.h"

namespace mmrec::reference {

struct PlanningLossWeights {
  Array error_in, error_in_bias, error_out, error_out_bias;
  Array target_in, target_in_bias, target_out, target_out_bias;
};

struct PlanningLoss {
  Array m, error_hidden, target_hidden, difference, loss;
};

/// loss[n] = sum_d (E(m) - P(h))^2 with m = (1 - g) h + g z + gm h; E, P: out gelu(in x).
inline PlanningLoss planning_loss_forward(const Array& h, const Array& z, const Array& g,
                                          const Array& gm, const PlanningLossWeights& w) {
  PlanningLoss r;
  r.m = map(g, h, [](Real gate, Real x) { return (1 - gate) * x; }) + g * z + gm * h;
  r.error_hidden = linear_forward(r.m, w.error_in, w.error_in_bias);
  r.target_hidden = linear_forward(h, w.target_in, w.target_in_bias);
  r.difference = map(linear_forward(map(r.error_hidden, gelu), w.error_out, w.error_out_bias),
                     linear_forward(map(r.target_hidden, gelu), w.target_out, w.target_out_bias),
                     [](Real e, Real p) { return e - p; });
  r.loss = column_sum(transposed(r.difference * r.difference));
  return r;
}

struct PlanningLossGradient {
  Array dh;
  PlanningLossWeights weights;
};

inline PlanningLossGradient planning_loss_backward(double scale, const Array& dh_residual,
                                                   const Array& h, const Array& z, const Array& g,
                                                   const Array& gm, const PlanningLossWeights& w) {
  const PlanningLoss f = planning_loss_forward(h, z, g, gm, w);
  PlanningLossGradient r;
  const auto mlp = [&](double factor, const Array& x, const Array& hidden, const Array& in,
                       const Array& out, Array& din, Array& din_bias, Array& dout,
                       Array& dout_bias) {
    const LinearGradient outer = linear_backward(
        map(f.difference, [&](Real d) { return factor * d; }), map(hidden, gelu), out);
    const LinearGradient inner = linear_backward(outer.dx * map(hidden, gelu_slope), x, in);
    din = inner.dweight, din_bias = inner.dbias, dout = outer.dweight, dout_bias = outer.dbias;
    return inner.dx;
  };
  PlanningLossWeights& d = r.weights;
  mlp(2 * scale, f.m, f.error_hidden, w.error_in, w.error_out, d.error_in, d.error_in_bias,
      d.error_out, d.error_out_bias);
  r.dh = dh_residual + mlp(-2 * scale, h, f.target_hidden, w.target_in, w.target_out, d.target_in,
                           d.target_in_bias, d.target_out, d.target_out_bias);
  return r;
}

}  // namespace mmrec::reference
