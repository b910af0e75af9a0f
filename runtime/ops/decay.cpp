#include "runtime/ops/decay.h"

#include "runtime/kernel_registry.h"

namespace mmrec::ops {

namespace {

/// N, D and R of a call, when all shapes fit.
struct DecaySizes {
  int N, D, R;
};

DecaySizes check(const char* name, const Tensor& z, const Tensor& k, const DecayWeights& w, const DecaySaved& saved) {
  check_shape(name, z, {-1, -1});
  check_shape(name, w.gamma_in, {-1, z.size(1)});
  const DecaySizes sizes{z.size(0), z.size(1), w.gamma_in.size(0)};
  const auto [N, D, R] = sizes;
  check_shape(name, k, {N, D});
  for (const Tensor& hidden : {saved.gamma_hidden, saved.context_hidden}) check_shape(name, hidden, {N, R});
  for (const Tensor& factor : {saved.gamma_sigmoid, saved.context_sigmoid}) check_shape(name, factor, {N, D});
  return sizes;
}

void check_weights(const char* name, const DecayWeights& w, const DecaySizes& sizes) {
  const auto [N, D, R] = sizes;
  for (const Tensor& in : {w.gamma_in, w.context_in}) check_shape(name, in, {R, D});
  for (const Tensor& bias : {w.gamma_in_bias, w.context_in_bias}) check_shape(name, bias, {R});
  for (const Tensor& out : {w.gamma_out, w.context_out}) check_shape(name, out, {D, R});
  for (const Tensor& bias : {w.gamma_out_bias, w.context_out_bias}) check_shape(name, bias, {D});
}

}  // namespace

void decay_forward(const Tensor& z, const Tensor& k, const DecayWeights& w, const DecaySaved& saved, const Tensor& gm) {
  const DecaySizes sizes = check("decay_forward", z, k, w, saved);
  check_weights("decay_forward", w, sizes);
  const auto [N, D, R] = sizes;
  check_shape("decay_forward: gm", gm, {N, D});
  if (N == 0) return;
  static Kernel kernel("decay", "forward");
  kernel({.flops = 8.0 * N * D * R, .sizes = {N, D, R}}, z, k, w.gamma_in, w.gamma_in_bias, w.gamma_out, w.gamma_out_bias, w.context_in,
         w.context_in_bias, w.context_out, w.context_out_bias, saved.gamma_hidden, saved.context_hidden, saved.gamma_sigmoid, saved.context_sigmoid,
         gm);
}

void decay_backward(const Tensor& dgm, float dgm_scale, const Tensor& dz_residual, const Tensor& z, const Tensor& k, const DecayWeights& w,
                    const DecaySaved& saved, const Tensor& dz, const Tensor& dk, const DecayWeights& g) {
  const DecaySizes sizes = check("decay_backward", z, k, w, saved);
  check_weights("decay_backward", g, sizes);
  const auto [N, D, R] = sizes;
  for (const Tensor& rows : {dgm, dz_residual, dz, dk}) check_shape("decay_backward: dgm, dz_residual, dz, dk", rows, {N, D});
  for (const Tensor& in : {w.gamma_in, w.context_in}) check_shape("decay_backward: weights", in, {R, D});
  for (const Tensor& out : {w.gamma_out, w.context_out}) check_shape("decay_backward: weights", out, {D, R});
  if (N == 0) return;
  static Kernel kernel("decay", "backward");
  kernel({.flops = 16.0 * N * D * R, .sizes = {N, D, R}}, dgm, dgm_scale, dz_residual, z, k, w.gamma_in, w.gamma_out, w.context_in, w.context_out,
         saved.gamma_hidden, saved.context_hidden, saved.gamma_sigmoid, saved.context_sigmoid, dz, dk, g.gamma_in, g.gamma_in_bias, g.gamma_out,
         g.gamma_out_bias, g.context_in, g.context_in_bias, g.context_out, g.context_out_bias);
}

}  // namespace mmrec::ops
