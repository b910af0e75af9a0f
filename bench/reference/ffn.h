#pragma once

#include "bench/reference/dropout.h"
#include "bench/reference/gemm.h"
#include "bench/reference/rmsnorm.h"

namespace mmrec::reference {

struct FfnWeights {
  Array norm, in, in_bias, out, out_bias;
};

struct Ffn {
  Array rstd, normalized, slope, activated, y;  // slope: mask_hidden gelu'(hidden)
};

/// y = r + mask_out (out (mask_hidden gelu(in rmsnorm(r) + in_bias)) + out_bias).
inline Ffn ffn_forward(const Array& r, const FfnWeights& w, const ops::Dropout& mask_hidden,
                       const ops::Dropout& mask_out) {
  const Rmsnorm norm = rmsnorm_forward(r, w.norm);
  const Array hidden = linear_forward(norm.y, w.in, w.in_bias);
  const Array mask = dropout_mask(mask_hidden, hidden.shape()),
              activated = mask * map(hidden, gelu);
  return {norm.rstd, norm.y, map(mask * map(hidden, gelu_slope), saved), map(activated, saved),
          r + dropout_mask(mask_out, r.shape()) * linear_forward(activated, w.out, w.out_bias)};
}

struct FfnGradient {
  Array dr;
  FfnWeights weights;
};

inline FfnGradient ffn_backward(const Array& dy, const Array& r, const FfnWeights& w,
                                const ops::Dropout& mask_hidden, const ops::Dropout& mask_out) {
  const Ffn f = ffn_forward(r, w, mask_hidden, mask_out);
  const LinearGradient out =
      linear_backward(dropout_mask(mask_out, dy.shape()) * dy, f.activated, w.out);
  const LinearGradient in = linear_backward(out.dx * f.slope, f.normalized, w.in);
  const RmsnormGradient norm = rmsnorm_backward(in.dx, dy, r, w.norm);
  return {norm.dx, {norm.dw, in.dweight, in.dbias, out.dweight, out.dbias}};
}

}  // namespace mmrec::reference
