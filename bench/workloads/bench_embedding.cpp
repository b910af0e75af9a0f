#include "bench/workloads/workloads.h"
#include "runtime/ops/embedding.h"

namespace mmrec::bench {

Workload embedding_workload(std::string_view pass, const std::vector<int>& sizes) {
  constexpr int V = 5000;
  const int N = sizes.at(0), D = sizes.at(1);
  if (pass == kForward.registry)
    return {.op = "embedding", .pass = kForward, .sizes = sizes, .flops = 0, .bytes = 8. * N * D, .prepare = [=](Operands& o) {
              const Tensor table = o.uniform({V, D}), x = o.zeros({N, D});
              const IntTensor ids = o.ids(N, V);
              return [=] { ops::embedding_forward(table, ids, x); };
            }};
  return {.op = "embedding", .pass = kBackward, .sizes = sizes, .flops = 1. * N * D, .bytes = 12. * N * D, .prepare = [=](Operands& o) {
            const Tensor dx = o.uniform({N, D}), dtable = o.zeros({V, D});
            const IntTensor ids = o.ids(N, V);
            return [=] { ops::embedding_backward(dx, ids, dtable); };
          }};
}

void add_embedding(Cases& cases) {
  for (const ModelShape& shape : model_shapes())
    for (const Pass& pass : {kForward, kBackward}) cases.add(embedding_workload(pass.registry, {shape.N, shape.D}));
}

}  // namespace mmrec::bench
