#include "runtime/ops/attention.h"

#include "runtime/kernel_registry.h"
#include "runtime/ops/gemm.h"
#include "support/error.h"

namespace mmrec::ops {

namespace {

void check_heads(const char* name, int D, int heads) {
  if (heads == 0 || D % heads != 0)
    fail("{}: {} columns do not divide among {} heads", name, D, heads);
}

/// Views [N][D] as [N][H][D/H].
Tensor by_head(const char* name, const Tensor& rows, int N, int heads) {
  check_shape(name, rows, {N, -1});
  check_heads(name, rows.size(1), heads);
  return rows.reshape({N, heads, rows.size(1) / heads});
}

}  // namespace

void attention_forward(const Tensor& q, const Weight& keys, const Tensor& values, const Tensor& p,
                       const Tensor& context) {
  check_shape("attention_forward: p", p, {-1, -1, -1});
  check_shape("attention_forward: q", q, {p.size(0), -1});
  const int N = p.size(0), H = p.size(1), S = p.size(2), D = q.size(1);
  check_shape("attention_forward: keys", keys, {S, D});
  check_shape("attention_forward: values", values, {S, D});
  check_shape("attention_forward: context", context, {N, D});
  const bool is_packed = all_packed("attention_forward: keys", {&keys});
  if (N == 0) return;
  static Kernel forward("attention", "forward"), packed("attention", "packed");
  (is_packed ? packed : forward)(
      {.flops = 4.0 * N * S * D, .sizes = {N, S, H, D}}, by_head("attention_forward: q", q, N, H),
      is_packed ? keys.packed : by_head("attention_forward: keys", keys, S, H),
      by_head("attention_forward: values", values, S, H), p,
      by_head("attention_forward: context", context, N, H));
}

void attention_backward(const Tensor& dcontext, const Tensor& keys, const Tensor& values,
                        const Tensor& p, const Tensor& dscores, const Tensor& dq) {
  check_shape("attention_backward: p", p, {-1, -1, -1});
  check_shape("attention_backward: dcontext", dcontext, {p.size(0), -1});
  const int N = p.size(0), H = p.size(1), S = p.size(2), D = dcontext.size(1);
  check_shape("attention_backward: keys", keys, {S, D});
  check_shape("attention_backward: values", values, {S, D});
  check_shape("attention_backward: dscores", dscores, {H, N, S});
  check_shape("attention_backward: dq", dq, {N, D});
  if (N == 0) return;
  static Kernel kernel("attention", "backward");
  kernel({.flops = 4.0 * N * S * D, .sizes = {N, S, H, D}},
         by_head("attention_backward: dcontext", dcontext, N, H),
         by_head("attention_backward: keys", keys, S, H),
         by_head("attention_backward: values", values, S, H), p, dscores,
         by_head("attention_backward: dq", dq, N, H));
}

void attention_backward_memory(const Tensor& dcontext, const Tensor& q, const Tensor& p,
                               const Tensor& dscores, const Tensor& dkeys, const Tensor& dvalues) {
  check_shape("attention_backward_memory: p", p, {-1, -1, -1});
  check_shape("attention_backward_memory: q", q, {p.size(0), -1});
  const int N = p.size(0), H = p.size(1), S = p.size(2), D = q.size(1);
  check_shape("attention_backward_memory: dcontext", dcontext, {N, D});
  check_shape("attention_backward_memory: dscores", dscores, {H, N, S});
  check_shape("attention_backward_memory: dkeys", dkeys, {S, D});
  check_shape("attention_backward_memory: dvalues", dvalues, {S, D});
  check_heads("attention_backward_memory: q", D, H);
  const Tensor slots = p.reshape({N, H * S});
  for (int h = 0; h < H; ++h) {
    const auto head = [&](const Tensor& rows) { return rows.columns(h * D / H, (h + 1) * D / H); };
    linear_gradients(dscores.at(h), head(q), head(dkeys));
    linear_gradients(slots.columns(h * S, (h + 1) * S), head(dcontext), head(dvalues));
  }
}

}  // namespace mmrec::ops
