#include "bench/reference/dropout.h"

#include "bench/workloads/workloads.h"
#include "runtime/ops/dropout.h"

namespace mmrec::bench {

namespace {

Workload workload(std::string_view pass, const std::vector<int>& sizes) {
  constexpr float kBeta = 0.1f;
  const ops::Dropout mask{.p = 0.1f, .key = {1, 2}};
  const int N = sizes.at(0), D = sizes.at(1);
  if (pass == kForward.registry)
    return {.op = "dropout",
            .pass = kForward,
            .sizes = sizes,
            .flops = 4. * N * D,
            .bytes = 16. * N * D,
            .prepare = [=](Operands& o) {
              const Tensor residual = o.uniform({N, D}), a = o.uniform({N, D}),
                           b = o.uniform({N, D}), y = o.output({N, D});
              return Invocation{
                  .run = [=] { ops::dropout_forward(residual, a, b, kBeta, mask, y); },
                  .expect = [=]() -> std::vector<Expected> {
                    return {{"y", y, reference::dropout_forward(residual, a, b, kBeta, mask)}};
                  }};
            }};
  return {.op = "dropout",
          .pass = kBackward,
          .sizes = sizes,
          .flops = 2. * N * D,
          .bytes = 12. * N * D,
          .prepare = [=](Operands& o) {
            const Tensor dy = o.uniform({N, D}), da = o.output({N, D}), db = o.output({N, D});
            return Invocation{.run = [=] { ops::dropout_backward(dy, kBeta, mask, da, db); },
                              .expect = [=]() -> std::vector<Expected> {
                                const reference::DropoutGradient want =
                                    reference::dropout_backward(dy, kBeta, mask);
                                return {{"da", da, want.da}, {"db", db, want.db}};
                              }};
          }};
}

void add(Cases& cases) {
  for (const ModelShape& shape : model_shapes())
    for (const Pass& pass : {kForward, kBackward})
      cases.add(workload(pass.registry, {shape.N, shape.D}));
}

}  // namespace

Description describe_dropout() {
  return {.workload = workload,
          .tested = crossed({0, 1, 6, 33, 70}, {{1}, {15}, {16}, {17}, {64}, {65}}, {{1501, 65}}),
          .add = add};
}

}  // namespace mmrec::bench
