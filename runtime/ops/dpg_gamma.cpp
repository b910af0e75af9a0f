#include "runtime/ops/dpg_gamma.h"

#include "runtime/kernel_registry.h"
#include "runtime/ops/weight_operands.h"

namespace mmrec::ops {

namespace {

void check_weights(const char* name, const DpgGammaWeights& w, int D, int R) {
  check_shape(name, w.down, {R, D});
  check_shape(name, w.down_bias, {R});
  check_shape(name, w.up, {D, R});
  check_shape(name, w.up_bias, {D});
}

}  // namespace

void dpg_gamma_forward(const Tensor& z, const DpgGammaWeights& w, const Tensor& hidden,
                       const Tensor& gamma) {
  check_shape("dpg_gamma_forward: z", z, {-1, -1});
  check_shape("dpg_gamma_forward: hidden", hidden, {z.size(0), -1});
  const int N = z.size(0), D = z.size(1), R = hidden.size(1);
  check_weights("dpg_gamma_forward: weights", w, D, R);
  check_shape("dpg_gamma_forward: gamma", gamma, {N, D});
  const bool is_packed = all_packed("dpg_gamma_forward: weights", {&w.down, &w.up});
  if (N == 0) return;
  static Kernel forward("dpg_gamma", "forward"), packed("dpg_gamma", "packed");
  with_operands(packed, is_packed, [&](const auto& operand) {
    (is_packed ? packed : forward)({.flops = 4.0 * N * D * R, .sizes = {N, D, R}}, z,
                                   operand(w.down), w.down_bias, operand(w.up), w.up_bias, hidden,
                                   gamma);
  });
}

void dpg_gamma_backward(const Tensor& dgamma, const Tensor& dz_residual, const Tensor& z,
                        const DpgGammaWeights& w, const Tensor& hidden, const Tensor& gamma,
                        const Tensor& dz, const DpgGammaWeights& g) {
  check_shape("dpg_gamma_backward: z", z, {-1, -1});
  check_shape("dpg_gamma_backward: hidden", hidden, {z.size(0), -1});
  const int N = z.size(0), D = z.size(1), R = hidden.size(1);
  for (const Tensor& rows : {dgamma, dz_residual, gamma, dz})
    check_shape("dpg_gamma_backward: dgamma, dz_residual, gamma, dz", rows, {N, D});
  check_weights("dpg_gamma_backward: weights", w, D, R);
  check_weights("dpg_gamma_backward: gradients", g, D, R);
  if (N == 0) return;
  static Kernel kernel("dpg_gamma", "backward");
  kernel({.flops = 8.0 * N * D * R, .sizes = {N, D, R}}, dgamma, dz_residual, z, w.down, w.up,
         hidden, gamma, dz, g.down, g.down_bias, g.up, g.up_bias);
}

}  // namespace mmrec::ops
