#include "bench/case.h"
#include "runtime/ops/rmsnorm.h"

namespace mmrec::bench {

void add_rmsnorm(Cases& cases) {
  for (const ModelShape& shape : model_shapes()) {
    const int N = shape.N, D = shape.D;
    cases.add({.op = "rmsnorm", .pass = kForward, .sizes = {N, D}, .flops = 4. * N * D, .bytes = 8. * N * D, .prepare = [=](Operands& o) {
                 const Tensor x = o.uniform({N, D}), w = o.uniform({D}), y = o.zeros({N, D}), scale = o.zeros({N});
                 return [=] { ops::rmsnorm_forward(x, w, y, scale); };
               }});
    cases.add(
        {.op = "rmsnorm", .pass = kBackward, .sizes = {N, D}, .flops = 11. * N * D, .bytes = 16. * N * D, .prepare = [=](Operands& o) {
           const Tensor dy = o.uniform({N, D}), residual = o.uniform({N, D}), x = o.uniform({N, D}), scale = o.uniform({N}, 1, 2), w = o.uniform({D});
           const Tensor dx = o.zeros({N, D}), dw = o.zeros({D});
           return [=] { ops::rmsnorm_backward(dy, residual, x, scale, w, dx, dw); };
         }});
  }
}

}  // namespace mmrec::bench
