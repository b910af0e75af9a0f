#include "runtime/ops/ffn.h"

#include "runtime/kernel_registry.h"
#include "runtime/ops/weight_operands.h"
#include "support/error.h"

namespace mmrec::ops {

namespace {

void check(const char* name, const Tensor& r, const Tensor& y, const FfnWeights& w,
           const FfnSaved& saved) {
  check_shape(name, r, {-1, -1});
  check_shape(name, w.in, {-1, r.size(1)});
  const int N = r.size(0), D = r.size(1), F = w.in.size(0);
  check_shape(name, y, {N, D});
  check_shape(name, w.norm, {D});
  check_shape(name, w.in_bias, {F});
  check_shape(name, w.out, {D, F});
  check_shape(name, w.out_bias, {D});
  check_shape(name, saved.rstd, {N});
  check_saved(name, saved.slope, {N, F});
  check_saved(name, saved.activated, {N, F});
}

}  // namespace

void ffn_forward(const Tensor& r, const FfnWeights& w, const Dropout& hidden, const Dropout& out,
                 const FfnSaved& saved, const Tensor& y) {
  check("ffn_forward", r, y, w, saved);
  if (hidden.p != out.p)
    fail("ffn_forward: both masks must have the same probability, not {} and {}", hidden.p, out.p);
  const bool is_packed = all_packed("ffn_forward: weights", {&w.in, &w.out});
  if (r.size(0) == 0) return;
  static Kernel forward("ffn", "forward"), packed("ffn", "packed");
  with_operands(packed, is_packed, [&](const auto& operand) {
    (is_packed ? packed : forward)({.flops = 4.0 * static_cast<double>(r.count()) * w.in.size(0),
                                    .sizes = {r.size(0), w.in.size(0), r.size(1)}},
                                   r, w.norm, operand(w.in), w.in_bias, operand(w.out), w.out_bias,
                                   hidden.key.low, hidden.key.high, out.key.low, out.key.high,
                                   dropout_threshold(out.p), 1.f / (1.f - out.p), saved.rstd,
                                   saved.slope, saved.activated, y);
  });
}

void ffn_backward(const Tensor& dy, const Tensor& r, const FfnWeights& w, const Dropout& out,
                  const FfnSaved& saved, const Tensor& dr, const FfnWeights& gradients) {
  check("ffn_backward", r, dy, w, saved);
  check("ffn_backward", r, dr, gradients, saved);
  if (r.size(0) == 0) return;
  static Kernel kernel("ffn", "backward");
  kernel({.flops = 8.0 * static_cast<double>(r.count()) * w.in.size(0),
          .sizes = {r.size(0), w.in.size(0), r.size(1)}},
         dy, r, w.norm, w.in, w.out, out.key.low, out.key.high, dropout_threshold(out.p),
         1.f / (1.f - out.p), saved.rstd, saved.slope, saved.activated, dr, gradients.norm,
         gradients.in, gradients.in_bias, gradients.out, gradients.out_bias);
}

}  // namespace mmrec::ops
