#include "bench/case.h"
#include "runtime/ops/attention.h"

namespace mmrec::bench {

void add_attention(Cases& cases) {
  for (const ModelShape& shape : model_shapes()) {
    const int N = shape.N, D = shape.D, H = shape.heads, S = shape.slots;
    const double products = 4. * N * S * D, bytes = 4. * (2. * N * D + 2. * S * D + 1. * N * H * S);
    const auto add = [&](const Pass& pass, auto pass_function) {
      cases.add({.op = "attention", .pass = pass, .sizes = {N, S, H, D}, .flops = products, .bytes = bytes, .prepare = [=](Operands& o) {
                   const Tensor rows = o.uniform({N, D}), keys = o.uniform({S, D}), values = o.uniform({S, D});
                   const Tensor p = o.uniform({N, H, S}, 0, 2.f / static_cast<float>(S)), result = o.zeros({N, D});
                   return [=] { pass_function(rows, keys, values, p, result); };
                 }});
    };
    add(kForward, ops::attention_forward);
    add(kBackward, ops::attention_backward);
  }
}

}  // namespace mmrec::bench
