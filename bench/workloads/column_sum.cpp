#include "bench/reference/gemm.h"
#include "bench/workloads/workloads.h"
#include "runtime/ops/gemm.h"

namespace mmrec::bench {

namespace {

Workload workload(std::string_view, const std::vector<int>& sizes) {
  const int N = sizes.at(0), D = sizes.at(1);
  return {.op = "column_sum",
          .pass = kForward,
          .sizes = sizes,
          .flops = 1. * N * D,
          .bytes = 4. * N * D,
          .prepare = [=](Operands& o) {
            const Tensor x = o.uniform({N, D}), s = o.uniform({D});
            return Invocation{.run = [=] { ops::column_sum(x, s); },
                              .expect = [=]() -> std::vector<Expected> {
                                return {{"s", s, s + reference::column_sum(x)}};
                              }};
          }};
}

void add(Cases& cases) {
  for (const ModelShape& shape : model_shapes())
    cases.add(workload(kForward.registry, {shape.N, shape.D}));
}

}  // namespace

Description describe_column_sum() {
  return {.workload = workload,
          .tested = crossed({0, 1, 2, 7, 33, 300}, {{0}, {1}, {15}, {16}, {17}, {64}, {65}, {130}},
                            {{3001, 97}}),
          .add = add};
}

}  // namespace mmrec::bench
