#include "bench/reference/scan.h"
#include "bench/workloads/workloads.h"
#include "runtime/ops/scan.h"

namespace mmrec::bench {

namespace {

Workload workload(std::string_view pass, const std::vector<int>& sizes) {
  const int R = sizes.at(0), T = sizes.at(1), D = sizes.at(2);
  const double count = 1. * R * T * D;
  if (pass == kForward.registry)
    return {.op = "affine_scan",
            .pass = kForward,
            .sizes = sizes,
            .flops = 2 * count,
            .bytes = 12 * count,
            .prepare = [=](Operands& o) {
              const Tensor a = o.uniform({R, T, D}, 0.5f, 1), b = o.uniform({R, T, D}),
                           h0 = o.uniform({R, D}), h = o.output({R, T, D});
              return Invocation{.run = [=] { ops::affine_scan_forward(a, b, h0, h); },
                                .expect = [=]() -> std::vector<Expected> {
                                  return {{"h", h, reference::affine_scan_forward(a, b, h0)}};
                                }};
            }};
  return {.op = "affine_scan",
          .pass = kBackward,
          .sizes = sizes,
          .flops = 3 * count,
          .bytes = 20 * count,
          .prepare = [=](Operands& o) {
            const Tensor dh = o.uniform({R, T, D}), a = o.uniform({R, T, D}, 0.5f, 1),
                         b = o.uniform({R, T, D}), h0 = o.uniform({R, D});
            const Tensor h = o.output({R, T, D}), da = o.output({R, T, D}),
                         db = o.output({R, T, D}), dh0 = o.output({R, D});
            return Invocation{
                .before = [=] { ops::affine_scan_forward(a, b, h0, h); },
                .run = [=] { ops::affine_scan_backward(dh, a, h, h0, da, db, dh0); },
                .expect = [=]() -> std::vector<Expected> {
                  const reference::AffineScanGradient want =
                      reference::affine_scan_backward(dh, a, b, h0);
                  return {{"da", da, want.da}, {"db", db, want.db}, {"dh0", dh0, want.dh0}};
                }};
          }};
}

void add(Cases& cases) {
  for (const std::vector<int>& sizes : timed_scans())
    for (const Pass& pass : {kForward, kBackward}) cases.add(workload(pass.registry, sizes));
}

}  // namespace

Description describe_affine_scan() {
  return {.workload = workload, .tested = tested_scans(), .add = add};
}

}  // namespace mmrec::bench
