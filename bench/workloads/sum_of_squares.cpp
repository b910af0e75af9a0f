#include "bench/reference/optimizer.h"
#include "bench/workloads/workloads.h"
#include "model/parameters.h"
#include "runtime/ops/optimizer.h"

namespace mmrec::bench {

namespace {

Workload workload(std::string_view, const std::vector<int>& sizes) {
  const int n = sizes.at(0);
  return {.op = "sum_of_squares",
          .pass = kForward,
          .sizes = sizes,
          .flops = 2. * n,
          .bytes = 4. * n,
          .prepare = [n](Operands& o) {
            const Tensor x = o.uniform({n}), sum = o.output({1});
            return Invocation{
                .run = [=] { sum.data()[0] = static_cast<float>(ops::sum_of_squares(x)); },
                .expect = [=]() -> std::vector<Expected> {
                  reference::Array want{1};
                  want(0) = reference::sum_of_squares(x);
                  return {{"sum", sum, want}};
                }};
          }};
}

void add(Cases& cases) {
  for (const char* name : {"tiny", "mini"})
    cases.add(workload(kForward.registry,
                       {static_cast<int>(parameter_count(parameter_table(preset(name))))}));
}

}  // namespace

Description describe_sum_of_squares() {
  return {.workload = workload,
          .tested = {{0}, {1}, {15}, {16}, {17}, {63}, {1000}, {4096}, {40'003}, {200'003}},
          .add = add};
}

}  // namespace mmrec::bench
