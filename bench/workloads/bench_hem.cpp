#include "bench/workloads/workloads.h"
#include "model/blocks/mmrec_block.h"
#include "runtime/ops/hem.h"

namespace mmrec::bench {

Workload hem_workload(std::string_view pass, const std::vector<int>& sizes) {
  const int N = sizes.at(0), P = sizes.at(1), D = sizes.at(2);
  const double product = 2. * N * P * D;
  if (pass == kForward.registry)
    return {.op = "hem", .pass = kForward, .sizes = sizes, .flops = product, .bytes = 4. * (N * D + P * D + N * P), .prepare = [=](Operands& o) {
              const Tensor x = o.uniform({N, D}), norm = o.uniform({D}), weight = o.uniform({P, D}), bias = o.uniform({P});
              const Tensor rstd = o.zeros({N}), y = o.zeros({N, P});
              return [=] { ops::hem_forward(x, norm, weight, bias, rstd, y); };
            }};
  return {.op = "hem",
          .pass = kBackward,
          .sizes = sizes,
          .flops = 2 * product,
          .bytes = 4. * (3. * N * D + 2. * P * D + N * P),
          .prepare = [=](Operands& o) {
            const Tensor dy = o.uniform({N, P}), residual = o.uniform({N, D}), x = o.uniform({N, D}), rstd = o.uniform({N}, 1, 2);
            const Tensor norm = o.uniform({D}), weight = o.uniform({P, D});
            const Tensor dx = o.zeros({N, D}), dnorm = o.zeros({D}), dweight = o.zeros({P, D}), dbias = o.zeros({P});
            return [=] { ops::hem_backward(dy, residual, x, rstd, norm, weight, dx, dnorm, dweight, dbias); };
          }};
}

void add_hem(Cases& cases) {
  for (const ModelShape& shape : model_shapes())
    for (const Pass& pass : {kForward, kBackward}) cases.add(hem_workload(pass.registry, {shape.N, MmrecBlock::kProjected * shape.D, shape.D}));
}

}  // namespace mmrec::bench
