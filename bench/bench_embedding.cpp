#include "bench/case.h"
#include "runtime/ops/embedding.h"

namespace mmrec::bench {

void add_embedding(Cases& cases) {
  constexpr int V = 5000;
  for (const ModelShape& shape : model_shapes()) {
    const int N = shape.N, D = shape.D;
    cases.add({.op = "embedding", .pass = kForward, .sizes = {N, D}, .flops = 0, .bytes = 8. * N * D, .prepare = [=](Operands& o) {
                 const Tensor table = o.uniform({V, D}), x = o.zeros({N, D});
                 const IntTensor ids = o.ids(N, V);
                 return [=] { ops::embedding_forward(table, ids, x); };
               }});
    cases.add({.op = "embedding", .pass = kBackward, .sizes = {N, D}, .flops = 1. * N * D, .bytes = 12. * N * D, .prepare = [=](Operands& o) {
                 const Tensor dx = o.uniform({N, D}), dtable = o.zeros({V, D});
                 const IntTensor ids = o.ids(N, V);
                 return [=] { ops::embedding_backward(dx, ids, dtable); };
               }});
  }
}

}  // namespace mmrec::bench
