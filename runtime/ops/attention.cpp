#include "runtime/ops/attention.h"

#include "runtime/error.h"
#include "runtime/kernel_registry.h"

namespace mmrec::ops {

namespace {

/// [N][D] as [N][H][D/H].
Tensor by_head(const char* name, const Tensor& rows, int N, int heads) {
  check_shape(name, rows, {N, -1});
  if (heads == 0 || rows.size(1) % heads != 0) fail("{}: {} columns do not divide among {} heads", name, rows.size(1), heads);
  return rows.reshape({N, heads, rows.size(1) / heads});
}

}  // namespace

void attention_forward(const Tensor& q, const Tensor& keys, const Tensor& values, const Tensor& p, const Tensor& context) {
  check_shape("attention_forward: p", p, {-1, -1, -1});
  check_shape("attention_forward: q", q, {p.size(0), -1});
  const int N = p.size(0), H = p.size(1), S = p.size(2), D = q.size(1);
  check_shape("attention_forward: keys", keys, {S, D});
  check_shape("attention_forward: values", values, {S, D});
  check_shape("attention_forward: context", context, {N, D});
  if (N == 0) return;
  static Kernel kernel("attention", "forward");
  kernel({.flops = 4.0 * N * S * D, .sizes = {N, S, H, D}}, by_head("attention_forward: q", q, N, H), by_head("attention_forward: keys", keys, S, H),
         by_head("attention_forward: values", values, S, H), p, by_head("attention_forward: context", context, N, H));
}

void attention_backward(const Tensor& dcontext, const Tensor& keys, const Tensor& values, const Tensor& p, const Tensor& dq) {
  check_shape("attention_backward: p", p, {-1, -1, -1});
  check_shape("attention_backward: dcontext", dcontext, {p.size(0), -1});
  const int N = p.size(0), H = p.size(1), S = p.size(2), D = dcontext.size(1);
  check_shape("attention_backward: keys", keys, {S, D});
  check_shape("attention_backward: values", values, {S, D});
  check_shape("attention_backward: dq", dq, {N, D});
  if (N == 0) return;
  static Kernel kernel("attention", "backward");
  kernel({.flops = 4.0 * N * S * D, .sizes = {N, S, H, D}}, by_head("attention_backward: dcontext", dcontext, N, H),
         by_head("attention_backward: keys", keys, S, H), by_head("attention_backward: values", values, S, H), p,
         by_head("attention_backward: dq", dq, N, H));
}

}  // namespace mmrec::ops
