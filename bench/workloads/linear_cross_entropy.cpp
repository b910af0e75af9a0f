#include "bench/reference/linear_cross_entropy.h"

#include <algorithm>

#include "bench/workloads/workloads.h"
#include "runtime/ops/linear_cross_entropy.h"

namespace mmrec::bench {

namespace {

Workload loss(const std::vector<int>& sizes) {
  const int N = sizes.at(0), V = sizes.at(1), D = sizes.at(2);
  return {
      .op = "linear_cross_entropy",
      .pass = {"loss", "fwd"},
      .sizes = sizes,
      .flops = 2. * N * V * D,
      .bytes = 4. * (N * D + V * D + 3. * N),
      .prepare = [=](Operands& o) {
        const Tensor x = o.uniform({N, D}), embedding = o.uniform({V, D}, -0.1f, 0.1f),
                     token_loss = o.output({N}), correct = o.output({N});
        const IntTensor targets = o.ids(N, V);
        return Invocation{
            .run = [=] { ops::linear_cross_entropy(x, embedding, targets, token_loss, correct); },
            .expect = [=]() -> std::vector<Expected> {
              const reference::LinearCrossEntropy want =
                  reference::linear_cross_entropy(x, embedding, reference::values_of(targets));
              return {{"token_loss", token_loss, want.token_loss},
                      {"correct", correct, want.correct}};
            }};
      }};
}

/// Both other passes: one function calls them.
Workload gradient(std::string_view pass, const std::vector<int>& sizes) {
  const int N = sizes.at(0), V = sizes.at(1), D = sizes.at(2);
  return {.op = "linear_cross_entropy",
          .pass = {std::string(pass), "bwd"},
          .sizes = sizes,
          .flops = 6. * N * V * D,
          .bytes = 4. * (2. * N * D + 2. * V * D + 3. * N),
          .prepare = [=](Operands& o) {
            const Tensor x = o.uniform({N, D}), embedding = o.uniform({V, D}, -0.1f, 0.1f),
                         token_loss = o.output({N}), correct = o.output({N});
            const Tensor dx = o.output({N, D}), dembedding = o.uniform({V, D});
            const IntTensor targets = o.ids(N, V);
            const float scale = 1.f / static_cast<float>(std::max(N, 1));
            return Invocation{
                .run =
                    [=] {
                      ops::linear_cross_entropy_with_gradient(x, embedding, targets, scale,
                                                              token_loss, correct, dx, dembedding);
                    },
                .expect = [=]() -> std::vector<Expected> {
                  const reference::LinearCrossEntropy forward =
                      reference::linear_cross_entropy(x, embedding, reference::values_of(targets));
                  const auto want = reference::linear_cross_entropy_backward(
                      x, embedding, reference::values_of(targets), scale);
                  return {{"token_loss", token_loss, forward.token_loss},
                          {"correct", correct, forward.correct},
                          {"dx", dx, want.dx},
                          accumulated("dembedding", dembedding, want.dembedding)};
                }};
          }};
}

Workload workload(std::string_view pass, const std::vector<int>& sizes) {
  return pass == "loss" ? loss(sizes) : gradient(pass, sizes);
}

void add(Cases& cases) {
  // tiny with its own vocabulary, tiny with a character vocabulary, and mini
  for (const std::vector<int>& sizes : std::vector<std::vector<int>>{
           {512, 5000, 128}, {768, 5000, 128}, {512, 80, 128}, {512, 10000, 256}})
    for (const char* pass : {"loss", "gradient"}) cases.add(workload(pass, sizes));
}

}  // namespace

Description describe_linear_cross_entropy() {
  return {.workload = workload,
          .tested = crossed({0, 1, 5, 13, 33, 70},
                            {{2, 1}, {16, 8}, {17, 16}, {63, 17}, {64, 33}, {65, 48}, {130, 64}},
                            {{3, 1, 4}, {6, 515, 65}, {130, 48, 16}, {260, 33, 5}, {520, 300, 33}}),
          .add = add};
}

}  // namespace mmrec::bench
