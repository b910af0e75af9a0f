#include "bench/reference/optimizer.h"
#include "bench/workloads/workloads.h"
#include "model/parameters.h"
#include "runtime/ops/optimizer.h"

namespace mmrec::bench {

namespace {

/// The step reads the gradient, and reads and writes the weight and both moments.
Workload workload(std::string_view, const std::vector<int>& sizes) {
  const int n = sizes.at(0);
  return {.op = "adamw",
          .pass = {"step", "fwd"},
          .sizes = sizes,
          .flops = 16. * n,
          .bytes = 28. * n,
          .prepare = [n](Operands& o) {
            const ops::AdamW settings{.gradient_scale = 0.25f, .step = 7};
            const Tensor gradient = o.uniform({n}), weight = o.uniform({n}), m = o.uniform({n}),
                         v = o.uniform({n}, 0, 1);
            return Invocation{
                .run = [=] { ops::adamw(settings, gradient, weight, m, v); },
                .expect = [=]() -> std::vector<Expected> {
                  const reference::AdamWState want =
                      reference::adamw(settings, gradient, {weight, m, v});
                  return {{"weight", weight, want.weight}, {"m", m, want.m}, {"v", v, want.v}};
                }};
          }};
}

void add(Cases& cases) {
  for (const char* name : {"tiny", "mini"})
    cases.add(workload("step", {static_cast<int>(parameter_count(parameter_table(preset(name))))}));
}

}  // namespace

Description describe_adamw() {
  return {.workload = workload,
          .tested = {{0}, {1}, {15}, {16}, {17}, {63}, {1000}, {40'003}},
          .add = add};
}

}  // namespace mmrec::bench
