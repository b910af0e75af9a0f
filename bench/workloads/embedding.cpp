#include "bench/reference/embedding.h"

#include "bench/workloads/workloads.h"
#include "runtime/ops/embedding.h"

namespace mmrec::bench {

namespace {

/// `sizes` may have the vocabulary size after the registry's sizes; default 5000.
Workload workload(std::string_view pass, const std::vector<int>& sizes) {
  const int N = sizes.at(0), D = sizes.at(1), V = sizes.size() > 2 ? sizes[2] : 5000;
  if (pass == kForward.registry)
    return {
        .op = "embedding",
        .pass = kForward,
        .sizes = sizes,
        .flops = 0,
        .bytes = 8. * N * D,
        .prepare = [=](Operands& o) {
          const Tensor table = o.uniform({V, D}), x = o.output({N, D});
          const IntTensor ids = o.ids(N, V);
          return Invocation{
              .run = [=] { ops::embedding_forward(table, ids, x); },
              .expect = [=]() -> std::vector<Expected> {
                return {{"x", x, reference::embedding_forward(table, reference::values_of(ids))}};
              }};
        }};
  return {.op = "embedding",
          .pass = kBackward,
          .sizes = sizes,
          .flops = 1. * N * D,
          .bytes = 12. * N * D,
          .prepare = [=](Operands& o) {
            const Tensor dx = o.uniform({N, D}), dtable = o.uniform({V, D});
            const IntTensor ids = o.ids(N, V);
            return Invocation{
                .run = [=] { ops::embedding_backward(dx, ids, dtable); },
                .expect = [=]() -> std::vector<Expected> {
                  return {{"dtable", dtable,
                           reference::embedding_backward(dx, reference::values_of(ids), dtable)}};
                }};
          }};
}

void add(Cases& cases) {
  for (const ModelShape& shape : model_shapes())
    for (const Pass& pass : {kForward, kBackward})
      cases.add(workload(pass.registry, {shape.N, shape.D}));
}

}  // namespace

Description describe_embedding() {
  return {.workload = workload,
          .tested = crossed({0, 1, 7, 130}, crossed({1, 15, 16, 17, 64, 65}, {{1}, {5}, {300}}),
                            {{2000, 48, 10}}),
          .add = add};
}

}  // namespace mmrec::bench
