#pragma once

#include "bench/reference/mdi_gamma.h"

namespace mmrec::reference {

struct DpgGammaWeights {
  Array down, down_bias, up, up_bias;
};

struct DpgGamma {
  Array hidden, sigmoid, gamma;
};

/// gamma = clamp(sigmoid(up relu(down z + down_bias) + up_bias), low, high).
inline DpgGamma dpg_gamma_forward(const Array& z, const DpgGammaWeights& w) {
  DpgGamma r;
  r.hidden = map(linear_forward(z, w.down, w.down_bias), [](Real x) { return at_least(x, 0); });
  r.sigmoid = map(linear_forward(r.hidden, w.up, w.up_bias), [](Real x) { return sigmoid(x); });
  r.gamma = map(r.sigmoid, clamp_gamma);
  return r;
}

struct DpgGammaGradient {
  Array dz;
  DpgGammaWeights weights;
};

inline DpgGammaGradient dpg_gamma_backward(const Array& dgamma, const Array& dz_residual,
                                           const Array& z, const DpgGammaWeights& w) {
  const DpgGamma f = dpg_gamma_forward(z, w);
  const Array doutput = map(dgamma, f.sigmoid, [](Real d, Real s) {
    return kMdiGammaLow < s && s < kMdiGammaHigh ? d * s * (1 - s) : Real(0);
  });
  const LinearGradient up = linear_backward(doutput, f.hidden, w.up);
  const Array dhidden =
      map(up.dx, f.hidden, [](Real d, Real h) { return h.value > 0 ? d : Real(0); });
  const LinearGradient down = linear_backward(dhidden, z, w.down);
  return {dz_residual + down.dx, {down.dweight, down.dbias, up.dweight, up.dbias}};
}

}  // namespace mmrec::reference
