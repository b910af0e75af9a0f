#pragma once

#include "bench/reference/gemm.h"
#include "runtime/ops/mdi_gamma.h"

namespace mmrec::reference {

struct MdiGammaWeights {
  Array gamma_in, gamma_in_bias, gamma_out, gamma_out_bias;
  Array context_in, context_in_bias, context_out, context_out_bias;
};

struct MdiGamma {
  Array gamma_hidden, context_hidden, gamma_sigmoid, context_sigmoid, gm;
};

/// The clamp's limits as floats; the upper one may be off by one rounding.
inline constexpr Real kMdiGammaLow{1e-6f}, kMdiGammaHigh{1.f - 1e-6f, 1};
inline Real clamp_gamma(Real g) {
  return kMdiGammaHigh < g ? kMdiGammaHigh : at_least(g, kMdiGammaLow);
}

/// gm = clamp(sigmoid(G2 gelu(G1 z)) * sigmoid(C2 gelu(C1 k)), low, high).
inline MdiGamma mdi_gamma_forward(const Array& z, const Array& k, const MdiGammaWeights& w) {
  MdiGamma r;
  r.gamma_hidden = linear_forward(z, w.gamma_in, w.gamma_in_bias);
  r.context_hidden = linear_forward(k, w.context_in, w.context_in_bias);
  r.gamma_sigmoid =
      map(linear_forward(map(r.gamma_hidden, gelu), w.gamma_out, w.gamma_out_bias), sigmoid);
  r.context_sigmoid =
      map(linear_forward(map(r.context_hidden, gelu), w.context_out, w.context_out_bias), sigmoid);
  r.gm = map(r.gamma_sigmoid * r.context_sigmoid, clamp_gamma);
  return r;
}

struct MdiGammaGradient {
  Array dz, dk;
  MdiGammaWeights weights;
};

/// Gradient of one MLP, sigmoid(out gelu(hidden)), given the gradient of its sigmoid. Returns the
/// gradient of the input.
inline Array gamma_mlp_backward(const Array& dsigmoid, const Array& sigmoid_value,
                                const Array& hidden, const Array& input, const Array& in,
                                const Array& out, Array& din, Array& din_bias, Array& dout,
                                Array& dout_bias) {
  const Array dpre = map(dsigmoid, sigmoid_value, [](Real d, Real s) { return d * s * (1 - s); });
  const LinearGradient outer = linear_backward(dpre, map(hidden, gelu), out);
  const LinearGradient inner = linear_backward(outer.dx * map(hidden, gelu_slope), input, in);
  dout = outer.dweight, dout_bias = outer.dbias, din = inner.dweight, din_bias = inner.dbias;
  return inner.dx;
}

inline MdiGammaGradient mdi_gamma_backward(const Array& dgm, double dgm_scale,
                                           const Array& dz_residual, const Array& z, const Array& k,
                                           const MdiGammaWeights& w) {
  const MdiGamma f = mdi_gamma_forward(z, k, w);
  const Array inside = map(f.gamma_sigmoid * f.context_sigmoid,
                           [](Real g) { return kMdiGammaLow < g && g < kMdiGammaHigh ? 1 : 0; });
  const Array dproduct =
      map(dgm, inside, [&](Real d, Real open) { return open.value > 0 ? dgm_scale * d : 0; });
  MdiGammaGradient r;
  MdiGammaWeights& d = r.weights;
  r.dz = dz_residual + gamma_mlp_backward(dproduct * f.context_sigmoid, f.gamma_sigmoid,
                                          f.gamma_hidden, z, w.gamma_in, w.gamma_out, d.gamma_in,
                                          d.gamma_in_bias, d.gamma_out, d.gamma_out_bias);
  r.dk = gamma_mlp_backward(dproduct * f.gamma_sigmoid, f.context_sigmoid, f.context_hidden, k,
                            w.context_in, w.context_out, d.context_in, d.context_in_bias,
                            d.context_out, d.context_out_bias);
  return r;
}

}  // namespace mmrec::reference
