#include "bench/case.h"
#include "runtime/ops/dropout.h"

namespace mmrec::bench {

void add_dropout(Cases& cases) {
  const ops::Dropout mask{.p = 0.1f, .key = {1, 2}};
  for (const ModelShape& shape : model_shapes()) {
    const int N = shape.N, D = shape.D;
    cases.add({.op = "dropout", .pass = kForward, .sizes = {N, D}, .flops = 4. * N * D, .bytes = 16. * N * D, .prepare = [=](Operands& o) {
                 const Tensor residual = o.uniform({N, D}), a = o.uniform({N, D}), b = o.uniform({N, D}), y = o.zeros({N, D});
                 return [=] { ops::dropout_forward(residual, a, b, 0.1f, mask, y); };
               }});
    cases.add({.op = "dropout", .pass = kBackward, .sizes = {N, D}, .flops = 2. * N * D, .bytes = 12. * N * D, .prepare = [=](Operands& o) {
                 const Tensor dy = o.uniform({N, D}), da = o.zeros({N, D}), db = o.zeros({N, D});
                 return [=] { ops::dropout_backward(dy, 0.1f, mask, da, db); };
               }});
  }
}

}  // namespace mmrec::bench
