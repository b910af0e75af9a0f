#include "bench/workloads/workloads.h"
#include "runtime/ops/attention.h"

namespace mmrec::bench {

Workload attention_workload(std::string_view pass, const std::vector<int>& sizes) {
  const int N = sizes.at(0), S = sizes.at(1), H = sizes.at(2), D = sizes.at(3);
  const bool forward = pass == kForward.registry;
  const double products = 4. * N * S * D, bytes = 4. * (2. * N * D + 2. * S * D + (forward ? 1. : 2.) * N * H * S);
  return {.op = "attention", .pass = forward ? kForward : kBackward, .sizes = sizes, .flops = products, .bytes = bytes, .prepare = [=](Operands& o) {
            const Tensor rows = o.uniform({N, D}), keys = o.uniform({S, D}), values = o.uniform({S, D});
            const Tensor p = o.uniform({N, H, S}, 0, 2.f / static_cast<float>(S)), result = o.zeros({N, D}), dscores = o.zeros({H, N, S});
            return [=] {
              if (forward)
                ops::attention_forward(rows, keys, values, p, result);
              else
                ops::attention_backward(rows, keys, values, p, dscores, result);
            };
          }};
}

void add_attention(Cases& cases) {
  for (const ModelShape& shape : model_shapes())
    for (const Pass& pass : {kForward, kBackward}) cases.add(attention_workload(pass.registry, {shape.N, shape.slots, shape.heads, shape.D}));
}

}  // namespace mmrec::bench
