#include "bench/workloads/workloads.h"
#include "runtime/ops/linear_cross_entropy.h"

namespace mmrec::bench {

namespace {

struct Shape {
  int N, V, D;
};
/// Tiny with its own vocabulary and with one of characters, and mini.
constexpr Shape kShapes[] = {{512, 5000, 128}, {768, 5000, 128}, {512, 80, 128}, {512, 10000, 256}};

}  // namespace

Workload linear_cross_entropy_workload(std::string_view pass, const std::vector<int>& sizes) {
  const int N = sizes.at(0), V = sizes.at(1), D = sizes.at(2);
  const double product = 2. * N * V * D;
  if (pass == "loss")
    return {.op = "linear_cross_entropy",
            .pass = {"loss", "fwd"},
            .sizes = sizes,
            .flops = product,
            .bytes = 4. * (N * D + V * D + 3. * N),
            .prepare = [=](Operands& o) {
              const Tensor x = o.uniform({N, D}), embedding = o.uniform({V, D}, -0.1f, 0.1f), token_loss = o.zeros({N}), correct = o.zeros({N});
              const IntTensor targets = o.ids(N, V);
              return [=] { ops::linear_cross_entropy(x, embedding, targets, token_loss, correct); };
            }};
  // One function calls both of the other passes.
  return {.op = "linear_cross_entropy",
          .pass = {std::string(pass), "bwd"},
          .sizes = sizes,
          .flops = 3 * product,
          .bytes = 4. * (2. * N * D + 2. * V * D + 3. * N),
          .prepare = [=](Operands& o) {
            const Tensor x = o.uniform({N, D}), embedding = o.uniform({V, D}, -0.1f, 0.1f), token_loss = o.zeros({N}), correct = o.zeros({N});
            const Tensor dx = o.zeros({N, D}), dembedding = o.zeros({V, D});
            const IntTensor targets = o.ids(N, V);
            const float scale = 1.f / static_cast<float>(N);
            return [=] { ops::linear_cross_entropy_with_gradient(x, embedding, targets, scale, token_loss, correct, dx, dembedding); };
          }};
}

void add_linear_cross_entropy(Cases& cases) {
  for (const Shape& shape : kShapes)
    for (const char* pass : {"loss", "gradient"}) cases.add(linear_cross_entropy_workload(pass, {shape.N, shape.V, shape.D}));
}

}  // namespace mmrec::bench
