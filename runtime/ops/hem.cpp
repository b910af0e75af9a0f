#include "runtime/ops/hem.h"

#include "runtime/kernel_registry.h"
#include "runtime/ops/weight_operands.h"

namespace mmrec::ops {

void hem_forward(const Tensor& x, const Tensor& norm_weight, const Weight& weight,
                 const Tensor& bias, const Tensor& rstd, const Tensor& y) {
  check_shape("hem_forward: x", x, {-1, -1});
  check_shape("hem_forward: weight", weight, {-1, x.size(1)});
  const int N = x.size(0), D = x.size(1), P = weight.size(0);
  check_shape("hem_forward: norm_weight", norm_weight, {D});
  check_shape("hem_forward: bias", bias, {P});
  check_shape("hem_forward: rstd", rstd, {N});
  check_shape("hem_forward: y", y, {N, P});
  const bool is_packed = all_packed("hem_forward: weight", {&weight});
  if (N == 0) return;
  static Kernel forward("hem", "forward"), packed("hem", "packed");
  with_operands(packed, is_packed, [&](const auto& operand) {
    (is_packed ? packed : forward)({.flops = 2.0 * N * P * D, .sizes = {N, P, D}}, x, norm_weight,
                                   operand(weight), bias, rstd, y);
  });
}

void hem_backward(const Tensor& dy, const Tensor& residual, const Tensor& x, const Tensor& rstd,
                  const Tensor& norm_weight, const Tensor& weight, const Tensor& dx,
                  const Tensor& dnorm_weight, const Tensor& dweight, const Tensor& dbias) {
  check_shape("hem_backward: x", x, {-1, -1});
  check_shape("hem_backward: weight", weight, {-1, x.size(1)});
  const int N = x.size(0), D = x.size(1), P = weight.size(0);
  check_shape("hem_backward: dy", dy, {N, P});
  check_shape("hem_backward: residual", residual, {N, D});
  check_shape("hem_backward: rstd", rstd, {N});
  check_shape("hem_backward: norm_weight", norm_weight, {D});
  check_shape("hem_backward: dx", dx, {N, D});
  check_shape("hem_backward: dnorm_weight", dnorm_weight, {D});
  check_shape("hem_backward: dweight", dweight, {P, D});
  check_shape("hem_backward: dbias", dbias, {P});
  if (N == 0) return;
  static Kernel kernel("hem", "backward");
  kernel({.flops = 4.0 * N * P * D, .sizes = {N, P, D}}, dy, residual, x, rstd, norm_weight, weight,
         dx, dnorm_weight, dweight, dbias);
}

}  // namespace mmrec::ops
