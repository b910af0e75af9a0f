#include "runtime/ops/mdi_gamma.h"

#include "runtime/kernel_registry.h"
#include "runtime/ops/weight_operands.h"

namespace mmrec::ops {

namespace {

/// Sizes of a call, after the shape checks.
struct MdiGammaSizes {
  int N, D, R;
};

MdiGammaSizes check(const char* name, const Tensor& z, const Tensor& k, const MdiGammaWeights& w,
                    const MdiGammaSaved& saved) {
  check_shape(name, z, {-1, -1});
  check_shape(name, w.gamma_in, {-1, z.size(1)});
  const MdiGammaSizes sizes{z.size(0), z.size(1), w.gamma_in.size(0)};
  const auto [N, D, R] = sizes;
  check_shape(name, k, {N, D});
  for (const Tensor& hidden : {saved.gamma_hidden, saved.context_hidden})
    check_shape(name, hidden, {N, R});
  for (const Tensor& factor : {saved.gamma_sigmoid, saved.context_sigmoid})
    check_shape(name, factor, {N, D});
  return sizes;
}

void check_weights(const char* name, const MdiGammaWeights& w, const MdiGammaSizes& sizes) {
  const auto [N, D, R] = sizes;
  for (const Tensor& in : {w.gamma_in, w.context_in}) check_shape(name, in, {R, D});
  for (const Tensor& bias : {w.gamma_in_bias, w.context_in_bias}) check_shape(name, bias, {R});
  for (const Tensor& out : {w.gamma_out, w.context_out}) check_shape(name, out, {D, R});
  for (const Tensor& bias : {w.gamma_out_bias, w.context_out_bias}) check_shape(name, bias, {D});
}

}  // namespace

void mdi_gamma_forward(const Tensor& z, const Tensor& k, const MdiGammaWeights& w,
                       const MdiGammaSaved& saved, const Tensor& gm) {
  const MdiGammaSizes sizes = check("mdi_gamma_forward", z, k, w, saved);
  check_weights("mdi_gamma_forward", w, sizes);
  const int N = sizes.N, D = sizes.D, R = sizes.R;
  check_shape("mdi_gamma_forward: gm", gm, {N, D});
  const bool is_packed = all_packed("mdi_gamma_forward: weights",
                                    {&w.gamma_in, &w.gamma_out, &w.context_in, &w.context_out});
  if (N == 0) return;
  static Kernel forward("mdi_gamma", "forward"), packed("mdi_gamma", "packed");
  with_operands(packed, is_packed, [&](const auto& operand) {
    (is_packed ? packed : forward)(
        {.flops = 8.0 * N * D * R, .sizes = {N, D, R}}, z, k, operand(w.gamma_in), w.gamma_in_bias,
        operand(w.gamma_out), w.gamma_out_bias, operand(w.context_in), w.context_in_bias,
        operand(w.context_out), w.context_out_bias, saved.gamma_hidden, saved.context_hidden,
        saved.gamma_sigmoid, saved.context_sigmoid, gm);
  });
}

void mdi_gamma_backward(const Tensor& dgm, float dgm_scale, const Tensor& dz_residual,
                        const Tensor& z, const Tensor& k, const MdiGammaWeights& w,
                        const MdiGammaSaved& saved, const Tensor& dz, const Tensor& dk,
                        const MdiGammaWeights& g) {
  const MdiGammaSizes sizes = check("mdi_gamma_backward", z, k, w, saved);
  check_weights("mdi_gamma_backward", g, sizes);
  const auto [N, D, R] = sizes;
  for (const Tensor& rows : {dgm, dz_residual, dz, dk})
    check_shape("mdi_gamma_backward: dgm, dz_residual, dz, dk", rows, {N, D});
  for (const Tensor& in : {w.gamma_in, w.context_in})
    check_shape("mdi_gamma_backward: weights", in, {R, D});
  for (const Tensor& out : {w.gamma_out, w.context_out})
    check_shape("mdi_gamma_backward: weights", out, {D, R});
  if (N == 0) return;
  static Kernel kernel("mdi_gamma", "backward");
  kernel({.flops = 16.0 * N * D * R, .sizes = {N, D, R}}, dgm, dgm_scale, dz_residual, z, k,
         w.gamma_in, w.gamma_out, w.context_in, w.context_out, saved.gamma_hidden,
         saved.context_hidden, saved.gamma_sigmoid, saved.context_sigmoid, dz, dk, g.gamma_in,
         g.gamma_in_bias, g.gamma_out, g.gamma_out_bias, g.context_in, g.context_in_bias,
         g.context_out, g.context_out_bias);
}

}  // namespace mmrec::ops
