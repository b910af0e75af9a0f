#include "runtime/ops/bf16_pairs.h"

#include "bench/workloads/workloads.h"

namespace mmrec::bench {

namespace {

/// The pairs as floats of the same bits.
reference::Array expected(const Tensor& x, const Tensor& y, bool in_rows) {
  reference::Array want({y.size(0), y.size(1)});
  for (int n = 0; n < y.size(0); ++n)
    for (int d = 0; d < y.size(1); ++d) {
      const auto at = [&](int which) {
        const int row = in_rows ? n : 2 * n + which, column = in_rows ? 2 * d + which : d;
        return row < x.size(0) && column < x.size(1) ? x.data()[row * x.stride(0) + column] : 0.f;
      };
      want(n, d) = bf16_pair(at(0), at(1));
    }
  return want;
}

Workload workload(std::string_view pass, const std::vector<int>& sizes) {
  const int N = sizes.at(0), D = sizes.at(1);
  const bool in_rows = pass == "rows";
  return {
      .op = "bf16_pairs",
      .pass = {std::string(pass), in_rows ? "rows" : "columns"},
      .sizes = sizes,
      .flops = 0,
      .bytes = 6. * N * D,
      .prepare = [=](Operands& o) -> Invocation {
        const Tensor x = o.uniform({N, D}),
                     y = in_rows ? o.output({N, (D + 1) / 2}) : o.output({(N + 1) / 2, D});
        const IntTensor pairs(reinterpret_cast<int32_t*>(y.data()), {y.size(0), y.size(1)});
        return {
            .run =
                [=] { (in_rows ? ops::bf16_pairs_in_rows : ops::bf16_pairs_in_columns)(x, pairs); },
            .expect = [=]() -> std::vector<Expected> {
              return {{"y", y, expected(x, y, in_rows)}};
            }};
      }};
}

void add(Cases& cases) {
  for (const char* pass : {"rows", "columns"})
    for (const ModelShape& shape : model_shapes()) cases.add(workload(pass, {5000, shape.D}));
}

}  // namespace

Description describe_bf16_pairs() {
  return {.workload = workload,
          .tested = crossed({0, 1, 2, 6, 33}, {{1}, {2}, {15}, {16}, {17}, {64}, {65}}),
          .add = add};
}

}  // namespace mmrec::bench
