#include "runtime/ops/planning_loss.h"

#include "runtime/kernel_registry.h"

namespace mmrec::ops {

namespace {

void check_weights(const char* name, const PlanningLossWeights& w, int D) {
  for (const Tensor& matrix : {w.error_in, w.error_out, w.target_in, w.target_out})
    check_shape(name, matrix, {D, D});
  for (const Tensor& bias :
       {w.error_in_bias, w.error_out_bias, w.target_in_bias, w.target_out_bias})
    check_shape(name, bias, {D});
}

void check_saved(const char* name, const PlanningLossSaved& s, int N, int D) {
  for (const Tensor& rows :
       {s.m, s.error_slope, s.error_activated, s.target_slope, s.target_activated, s.difference})
    check_shape(name, rows, {N, D});
}

}  // namespace

void planning_loss_forward(const Tensor& h_previous, const Tensor& z, const Tensor& g,
                           const Tensor& gm, const PlanningLossWeights& w,
                           const PlanningLossSaved& s, const Tensor& loss) {
  check_shape("planning_loss_forward: h_previous", h_previous, {-1, -1});
  const int N = h_previous.size(0), D = h_previous.size(1);
  for (const Tensor& rows : {z, g, gm})
    check_shape("planning_loss_forward: z, g, gm", rows, {N, D});
  check_weights("planning_loss_forward: weights", w, D);
  check_saved("planning_loss_forward: saved", s, N, D);
  check_shape("planning_loss_forward: loss", loss, {N});
  if (N == 0) return;
  static Kernel kernel("planning_loss", "forward");
  kernel({.flops = 8.0 * N * D * D, .sizes = {N, D}}, h_previous, z, g, gm, w.error_in,
         w.error_in_bias, w.error_out, w.error_out_bias, w.target_in, w.target_in_bias,
         w.target_out, w.target_out_bias, s.m, s.error_slope, s.error_activated, s.target_slope,
         s.target_activated, s.difference, loss);
}

void planning_loss_backward(float scale, const Tensor& dh_residual, const Tensor& h_previous,
                            const PlanningLossWeights& w, const PlanningLossSaved& s,
                            const Tensor& dh, const PlanningLossWeights& g) {
  check_shape("planning_loss_backward: h_previous", h_previous, {-1, -1});
  const int N = h_previous.size(0), D = h_previous.size(1);
  for (const Tensor& rows : {dh_residual, dh})
    check_shape("planning_loss_backward: dh_residual, dh", rows, {N, D});
  check_weights("planning_loss_backward: weights", w, D);
  check_weights("planning_loss_backward: gradients", g, D);
  check_saved("planning_loss_backward: saved", s, N, D);
  if (N == 0) return;
  static Kernel kernel("planning_loss", "backward");
  kernel({.flops = 14.0 * N * D * D, .sizes = {N, D}}, scale, dh_residual, h_previous, s.m,
         w.error_out, w.target_in, w.target_out, s.error_slope, s.error_activated, s.target_slope,
         s.target_activated, s.difference, dh, g.error_in, g.error_in_bias, g.error_out,
         g.error_out_bias, g.target_in, g.target_in_bias, g.target_out, g.target_out_bias);
}

}  // namespace mmrec::ops
