#include "bench/reference/optimizer.h"
#include "bench/workloads/workloads.h"
#include "model/parameters.h"
#include "runtime/ops/optimizer.h"

namespace mmrec::bench {

namespace {

Workload workload(std::string_view, const std::vector<int>& sizes) {
  const int n = sizes.at(0);
  return {.op = "moving_average",
          .pass = {"step", "fwd"},
          .sizes = sizes,
          .flops = 3. * n,
          .bytes = 12. * n,
          .prepare = [n](Operands& o) {
            constexpr float kShare = 0.002f;
            const Tensor weight = o.uniform({n}), average = o.uniform({n});
            return Invocation{
                .run = [=] { ops::move_average(kShare, weight, average); },
                .expect = [=]() -> std::vector<Expected> {
                  return {{"average", average, reference::move_average(kShare, weight, average)}};
                }};
          }};
}

void add(Cases& cases) {
  for (const char* name : {"tiny", "mini"})
    cases.add(workload("step", {static_cast<int>(parameter_count(parameter_table(preset(name))))}));
}

}  // namespace

Description describe_moving_average() {
  return {.workload = workload,
          .tested = {{0}, {1}, {15}, {16}, {17}, {63}, {1000}, {40'003}},
          .add = add};
}

}  // namespace mmrec::bench
