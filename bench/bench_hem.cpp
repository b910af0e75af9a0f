#include "bench/case.h"
#include "runtime/ops/hem.h"

namespace mmrec::bench {

void add_hem(Cases& cases) {
  for (const ModelShape& shape : model_shapes()) {
    const int N = shape.N, D = shape.D;
    const int P = 4 * D;
    const double product = 2. * N * P * D;
    cases.add(
        {.op = "hem", .pass = kForward, .sizes = {N, P, D}, .flops = product, .bytes = 4. * (N * D + P * D + N * P), .prepare = [=](Operands& o) {
           const Tensor x = o.uniform({N, D}), norm = o.uniform({D}), weight = o.uniform({P, D}), bias = o.uniform({P});
           const Tensor scale = o.zeros({N}), y = o.zeros({N, P});
           return [=] { ops::hem_forward(x, norm, weight, bias, scale, y); };
         }});
    cases.add({.op = "hem",
               .pass = kBackward,
               .sizes = {N, P, D},
               .flops = 2 * product,
               .bytes = 4. * (3. * N * D + 2. * P * D + N * P),
               .prepare = [=](Operands& o) {
                 const Tensor dy = o.uniform({N, P}), residual = o.uniform({N, D}), x = o.uniform({N, D}), scale = o.uniform({N}, 1, 2);
                 const Tensor norm = o.uniform({D}), weight = o.uniform({P, D});
                 const Tensor dx = o.zeros({N, D}), dnorm = o.zeros({D}), dweight = o.zeros({P, D}), dbias = o.zeros({P});
                 return [=] { ops::hem_backward(dy, residual, x, scale, norm, weight, dx, dnorm, dweight, dbias); };
               }});
  }
}

}  // namespace mmrec::bench
