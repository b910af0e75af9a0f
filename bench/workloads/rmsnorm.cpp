#include "bench/reference/rmsnorm.h"

#include "bench/workloads/workloads.h"
#include "runtime/ops/rmsnorm.h"

namespace mmrec::bench {

namespace {

Workload workload(std::string_view pass, const std::vector<int>& sizes) {
  const int N = sizes.at(0), D = sizes.at(1);
  if (pass == kForward.registry)
    return {.op = "rmsnorm",
            .pass = kForward,
            .sizes = sizes,
            .flops = 4. * N * D,
            .bytes = 8. * N * D,
            .prepare = [=](Operands& o) {
              const Tensor x = o.uniform({N, D}), w = o.uniform({D}), y = o.output({N, D}),
                           rstd = o.output({N});
              return Invocation{.run = [=] { ops::rmsnorm_forward(x, w, y, rstd); },
                                .expect = [=]() -> std::vector<Expected> {
                                  const reference::Rmsnorm want = reference::rmsnorm_forward(x, w);
                                  return {{"y", y, want.y}, {"rstd", rstd, want.rstd}};
                                }};
            }};
  return {.op = "rmsnorm",
          .pass = kBackward,
          .sizes = sizes,
          .flops = 11. * N * D,
          .bytes = 16. * N * D,
          .prepare = [=](Operands& o) {
            const Tensor dy = o.uniform({N, D}), residual = o.uniform({N, D}),
                         x = o.uniform({N, D}), w = o.uniform({D});
            const Tensor y = o.output({N, D}), rstd = o.output({N}), dx = o.output({N, D}),
                         dw = o.uniform({D});
            return Invocation{
                .before = [=] { ops::rmsnorm_forward(x, w, y, rstd); },
                .run = [=] { ops::rmsnorm_backward(dy, residual, x, rstd, w, dx, dw); },
                .expect = [=]() -> std::vector<Expected> {
                  const reference::RmsnormGradient want =
                      reference::rmsnorm_backward(dy, residual, x, w);
                  return {{"dx", dx, want.dx}, accumulated("dw", dw, want.dw)};
                }};
          }};
}

void add(Cases& cases) {
  for (const ModelShape& shape : model_shapes())
    for (const Pass& pass : {kForward, kBackward})
      cases.add(workload(pass.registry, {shape.N, shape.D}));
}

}  // namespace

Description describe_rmsnorm() {
  return {.workload = workload,
          .tested = crossed({0, 1, 6, 13, 33, 70},
                            {{1}, {3}, {15}, {16}, {17}, {48}, {64}, {65}, {129}}, {{1501, 65}}),
          .add = add};
}

}  // namespace mmrec::bench
