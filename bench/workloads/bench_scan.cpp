#include "bench/workloads/workloads.h"
#include "runtime/ops/scan.h"

namespace mmrec::bench {

namespace {

struct Shape {
  int R, T, D;
};
/// The documented shape, a longer one, few columns and long T, and 16.8 million elements, far beyond the caches.
constexpr Shape kShapes[] = {{8, 128, 64}, {8, 256, 128}, {1, 65536, 8}, {64, 2048, 128}};

}  // namespace

Workload scan_workload(std::string_view pass, const std::vector<int>& sizes) {
  const int R = sizes.at(0), T = sizes.at(1), D = sizes.at(2);
  const double count = 1. * R * T * D;
  // Factors around 1, so that a product of many neither vanishes nor overflows.
  if (pass == kForward.registry)
    return {.op = "scan", .pass = kForward, .sizes = sizes, .flops = count, .bytes = 8 * count, .prepare = [=](Operands& o) {
              const Tensor x = o.uniform({R, T, D}, 0.98f, 1.02f), y = o.zeros({R, T, D});
              return [=] { ops::scan_forward(x, y); };
            }};
  return {
      .op = "scan", .pass = kBackward, .sizes = sizes, .flops = 3 * count, .bytes = 16 * count, .prepare = [=](Operands& o) {
        const Tensor dy = o.uniform({R, T, D}), x = o.uniform({R, T, D}, 0.98f, 1.02f), y = o.uniform({R, T, D}, 0.5f, 2), dx = o.zeros({R, T, D});
        return [=] { ops::scan_backward(dy, x, y, dx); };
      }};
}

Workload affine_scan_workload(std::string_view pass, const std::vector<int>& sizes) {
  const int R = sizes.at(0), T = sizes.at(1), D = sizes.at(2);
  const double count = 1. * R * T * D;
  if (pass == kForward.registry)
    return {.op = "affine_scan", .pass = kForward, .sizes = sizes, .flops = 2 * count, .bytes = 12 * count, .prepare = [=](Operands& o) {
              const Tensor a = o.uniform({R, T, D}, 0.5f, 1), b = o.uniform({R, T, D}), h0 = o.uniform({R, D}), h = o.zeros({R, T, D});
              return [=] { ops::affine_scan_forward(a, b, h0, h); };
            }};
  return {.op = "affine_scan", .pass = kBackward, .sizes = sizes, .flops = 3 * count, .bytes = 20 * count, .prepare = [=](Operands& o) {
            const Tensor dh = o.uniform({R, T, D}), a = o.uniform({R, T, D}, 0.5f, 1), h = o.uniform({R, T, D}), h0 = o.uniform({R, D});
            const Tensor da = o.zeros({R, T, D}), db = o.zeros({R, T, D}), dh0 = o.zeros({R, D});
            return [=] { ops::affine_scan_backward(dh, a, h, h0, da, db, dh0); };
          }};
}

void add_scan(Cases& cases) {
  for (const auto workload : {scan_workload, affine_scan_workload})
    for (const Shape& shape : kShapes)
      for (const Pass& pass : {kForward, kBackward}) cases.add(workload(pass.registry, {shape.R, shape.T, shape.D}));
}

}  // namespace mmrec::bench
