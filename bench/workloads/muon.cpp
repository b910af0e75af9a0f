#include "runtime/ops/muon.h"

#include <string_view>

#include "bench/reference/muon.h"
#include "bench/workloads/workloads.h"

namespace mmrec::bench {

namespace {

/// The momentum: reads gradient and moment, writes moment and update.
Workload workload(std::string_view, const std::vector<int>& sizes) {
  const int M = sizes.at(0), N = sizes.at(1);
  return {.op = "muon",
          .pass = {"momentum", "fwd"},
          .sizes = sizes,
          .flops = 6. * M * N,
          .bytes = 16. * M * N,
          .prepare = [=](Operands& o) {
            const ops::Muon settings{.gradient_scale = 0.25f};
            const Tensor gradient = o.uniform({M, N}), moment = o.uniform({M, N}),
                         update = o.output({M, N});
            return Invocation{
                .run = [=] { ops::muon_momentum(settings, gradient, moment, update); },
                .expect = [=]() -> std::vector<Expected> {
                  const reference::MuonMomentum want =
                      reference::muon_momentum(settings, gradient, moment);
                  return {{"moment", moment, want.moment}, {"update", update, want.update}};
                }};
          }};
}

void add(Cases& cases) {
  for (const int D : {128, 256})
    for (const int rows : {D, 4 * D}) cases.add(workload("momentum", {rows, D}));
}

}  // namespace

Description describe_muon() {
  return {.workload = workload,
          .tested = crossed({0, 1, 6, 33}, {{1}, {15}, {16}, {65}}, {{1501, 65}}),
          .add = add};
}

}  // namespace mmrec::bench
