#include "bench/workloads/workloads.h"
#include "runtime/ops/dropout.h"

namespace mmrec::bench {

Workload dropout_workload(std::string_view pass, const std::vector<int>& sizes) {
  const ops::Dropout mask{.p = 0.1f, .key = {1, 2}};
  const int N = sizes.at(0), D = sizes.at(1);
  if (pass == kForward.registry)
    return {.op = "dropout", .pass = kForward, .sizes = sizes, .flops = 4. * N * D, .bytes = 16. * N * D, .prepare = [=](Operands& o) {
              const Tensor residual = o.uniform({N, D}), a = o.uniform({N, D}), b = o.uniform({N, D}), y = o.zeros({N, D});
              return [=] { ops::dropout_forward(residual, a, b, 0.1f, mask, y); };
            }};
  return {.op = "dropout", .pass = kBackward, .sizes = sizes, .flops = 2. * N * D, .bytes = 12. * N * D, .prepare = [=](Operands& o) {
            const Tensor dy = o.uniform({N, D}), da = o.zeros({N, D}), db = o.zeros({N, D});
            return [=] { ops::dropout_backward(dy, 0.1f, mask, da, db); };
          }};
}

void add_dropout(Cases& cases) {
  for (const ModelShape& shape : model_shapes())
    for (const Pass& pass : {kForward, kBackward}) cases.add(dropout_workload(pass.registry, {shape.N, shape.D}));
}

}  // namespace mmrec::bench
