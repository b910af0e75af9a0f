#include "bench/workloads/workloads.h"
#include "runtime/ops/rmsnorm.h"

namespace mmrec::bench {

Workload rmsnorm_workload(std::string_view pass, const std::vector<int>& sizes) {
  const int N = sizes.at(0), D = sizes.at(1);
  if (pass == kForward.registry)
    return {.op = "rmsnorm", .pass = kForward, .sizes = sizes, .flops = 4. * N * D, .bytes = 8. * N * D, .prepare = [=](Operands& o) {
              const Tensor x = o.uniform({N, D}), w = o.uniform({D}), y = o.zeros({N, D}), rstd = o.zeros({N});
              return [=] { ops::rmsnorm_forward(x, w, y, rstd); };
            }};
  return {.op = "rmsnorm", .pass = kBackward, .sizes = sizes, .flops = 11. * N * D, .bytes = 16. * N * D, .prepare = [=](Operands& o) {
            const Tensor dy = o.uniform({N, D}), residual = o.uniform({N, D}), x = o.uniform({N, D}), rstd = o.uniform({N}, 1, 2), w = o.uniform({D});
            const Tensor dx = o.zeros({N, D}), dw = o.zeros({D});
            return [=] { ops::rmsnorm_backward(dy, residual, x, rstd, w, dx, dw); };
          }};
}

void add_rmsnorm(Cases& cases) {
  for (const ModelShape& shape : model_shapes())
    for (const Pass& pass : {kForward, kBackward}) cases.add(rmsnorm_workload(pass.registry, {shape.N, shape.D}));
}

}  // namespace mmrec::bench
