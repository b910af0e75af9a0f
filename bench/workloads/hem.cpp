#include "bench/reference/hem.h"

#include "bench/workloads/workloads.h"
#include "model/blocks/mmrec_block.h"
#include "runtime/ops/hem.h"

namespace mmrec::bench {

namespace {

Workload workload(std::string_view pass, const std::vector<int>& sizes) {
  const int N = sizes.at(0), P = sizes.at(1), D = sizes.at(2);
  const double product = 2. * N * P * D;
  const bool packed = pass == kPacked.registry;
  if (packed || pass == kForward.registry)
    return {.op = "hem",
            .pass = packed ? kPacked : kForward,
            .sizes = sizes,
            .flops = product,
            .bytes = 4. * (N * D + P * D + N * P),
            .prepare = [=](Operands& o) {
              const Tensor x = o.uniform({N, D}), norm = o.uniform({D}), bias = o.uniform({P});
              const ops::Weight weight = random_weight(o, P, D, packed);
              const Tensor rstd = o.output({N}), y = o.output({N, P});
              const auto before = [=] {
                if (packed) pack_for_call(weight, norm);
              };
              return Invocation{.before = before,
                                .run = [=] { ops::hem_forward(x, norm, weight, bias, rstd, y); },
                                .expect = [=]() -> std::vector<Expected> {
                                  const reference::Hem want =
                                      reference::hem_forward(x, norm, weight, bias);
                                  return {{"rstd", rstd, want.rstd}, {"y", y, want.y}};
                                }};
            }};
  return {.op = "hem",
          .pass = kBackward,
          .sizes = sizes,
          .flops = 2 * product,
          .bytes = 4. * (3. * N * D + 2. * P * D + N * P),
          .prepare = [=](Operands& o) {
            const Tensor dy = o.uniform({N, P}), residual = o.uniform({N, D}),
                         x = o.uniform({N, D}), rstd = o.output({N});
            const Tensor norm = o.uniform({D}), weight = o.uniform({P, D}), bias = o.uniform({P}),
                         y = o.output({N, P});
            const Tensor dx = o.output({N, D}), dnorm = o.uniform({D}), dweight = o.uniform({P, D}),
                         dbias = o.uniform({P});
            return Invocation{.before = [=] { ops::hem_forward(x, norm, weight, bias, rstd, y); },
                              .run =
                                  [=] {
                                    ops::hem_backward(dy, residual, x, rstd, norm, weight, dx,
                                                      dnorm, dweight, dbias);
                                  },
                              .expect = [=]() -> std::vector<Expected> {
                                const reference::HemGradient want =
                                    reference::hem_backward(dy, residual, x, norm, weight);
                                return {{"dx", dx, want.dx},
                                        accumulated("dnorm", dnorm, want.dnorm_weight),
                                        accumulated("dweight", dweight, want.dweight),
                                        accumulated("dbias", dbias, want.dbias)};
                              }};
          }};
}

void add(Cases& cases) {
  for (const ModelShape& shape : model_shapes())
    for (const Pass& pass : {kForward, kBackward})
      cases.add(workload(pass.registry, {shape.N, MmrecBlock::kProjected * shape.D, shape.D}));
  for (const ModelShape& shape : token_shapes())
    cases.add(workload(kPacked.registry, {shape.N, MmrecBlock::kProjected * shape.D, shape.D}));
}

}  // namespace

Description describe_hem() {
  return {.workload = workload,
          .tested = crossed({0, 1, 6, 8, 13, 33},
                            {{1, 1}, {17, 3}, {64, 16}, {31, 17}, {32, 48}, {49, 64}},
                            {{65, 130, 128}, {29, 260, 65}, {520, 130, 64}}),
          .add = add};
}

}  // namespace mmrec::bench
