#include "bench/reference/scan.h"

#include "bench/workloads/workloads.h"
#include "runtime/ops/scan.h"

namespace mmrec::bench {

namespace {

Workload workload(std::string_view pass, const std::vector<int>& sizes) {
  const int R = sizes.at(0), T = sizes.at(1), D = sizes.at(2);
  const double count = 1. * R * T * D;
  // Factors around 1: the product of many of them neither vanishes nor overflows.
  if (pass == kForward.registry)
    return {.op = "scan",
            .pass = kForward,
            .sizes = sizes,
            .flops = count,
            .bytes = 8 * count,
            .prepare = [=](Operands& o) {
              const Tensor x = o.uniform({R, T, D}, 0.98f, 1.02f), y = o.output({R, T, D});
              return Invocation{.run = [=] { ops::scan_forward(x, y); },
                                .expect = [=]() -> std::vector<Expected> {
                                  // A variant may compute exp of a sum of logs. The function errors
                                  // of exp and log dominate if only few factors are multiplied.
                                  const auto by_logs = [](reference::Real y) {
                                    return reference::Real(
                                        y.value, y.error + 2 * reference::kFunctionError * y.value);
                                  };
                                  return {{"y", y, map(reference::scan_forward(x), by_logs)}};
                                }};
            }};
  return {.op = "scan",
          .pass = kBackward,
          .sizes = sizes,
          .flops = 3 * count,
          .bytes = 16 * count,
          .prepare = [=](Operands& o) {
            const Tensor dy = o.uniform({R, T, D}), x = o.uniform({R, T, D}, 0.98f, 1.02f),
                         y = o.output({R, T, D}), dx = o.output({R, T, D});
            return Invocation{.before = [=] { ops::scan_forward(x, y); },
                              .run = [=] { ops::scan_backward(dy, x, y, dx); },
                              .expect = [=]() -> std::vector<Expected> {
                                return {{"dx", dx, reference::scan_backward(dy, x)}};
                              }};
          }};
}

void add(Cases& cases) {
  for (const std::vector<int>& sizes : timed_scans())
    for (const Pass& pass : {kForward, kBackward}) cases.add(workload(pass.registry, sizes));
}

}  // namespace

Description describe_scan() { return {.workload = workload, .tested = tested_scans(), .add = add}; }

}  // namespace mmrec::bench
