#include "bench/case.h"
#include "runtime/ops/head_loss.h"

namespace mmrec::bench {

namespace {

struct Shape {
  int N, V, D;
};
/// Tiny with its own vocabulary and with one of characters, and mini.
constexpr Shape kShapes[] = {{512, 5000, 128}, {768, 5000, 128}, {512, 80, 128}, {512, 10000, 256}};

}  // namespace

void add_head_loss(Cases& cases) {
  for (const Shape& shape : kShapes) {
    const int N = shape.N, V = shape.V, D = shape.D;
    const double product = 2. * N * V * D;
    cases.add({.op = "head_loss",
               .pass = {"loss", "fwd"},
               .sizes = {N, V, D},
               .flops = product,
               .bytes = 4. * (N * D + V * D + 3. * N),
               .prepare = [=](Operands& o) {
                 const Tensor x = o.uniform({N, D}), embedding = o.uniform({V, D}, -0.1f, 0.1f), token_loss = o.zeros({N}), correct = o.zeros({N});
                 const IntTensor targets = o.ids(N, V);
                 return [=] { ops::head_loss(x, embedding, targets, token_loss, correct); };
               }});
    cases.add({.op = "head_loss",
               .pass = {"gradient", "bwd"},
               .sizes = {N, V, D},
               .flops = 3 * product,
               .bytes = 4. * (2. * N * D + 2. * V * D + 3. * N),
               .prepare = [=](Operands& o) {
                 const Tensor x = o.uniform({N, D}), embedding = o.uniform({V, D}, -0.1f, 0.1f), token_loss = o.zeros({N}), correct = o.zeros({N});
                 const Tensor dx = o.zeros({N, D}), dembedding = o.zeros({V, D});
                 const IntTensor targets = o.ids(N, V);
                 const float scale = 1.f / static_cast<float>(N);
                 return [=] { ops::head_loss_with_gradient(x, embedding, targets, scale, token_loss, correct, dx, dembedding); };
               }});
  }
}

}  // namespace mmrec::bench
