#include "runtime/ops/gemmt.h"

#include <string_view>

#include "bench/reference/gemm.h"
#include "bench/workloads/workloads.h"
#include "support/error.h"

namespace mmrec::bench {

namespace {

/// C = alpha A A + beta D of a symmetric A (nn), alpha A A^T + beta D (nt), alpha A^T A + beta D
/// (tn).
struct GemmtLayout {
  const char* name;
  void (*product)(const Tensor& a, const Tensor& b, const Tensor& c,
                  const ops::GemmtEpilogue& epilogue);
};
constexpr GemmtLayout kLayouts[] = {
    {"nn", ops::gemmt_nn}, {"nt", ops::gemmt_nt}, {"tn", ops::gemmt_tn}};
constexpr float kAlpha = 0.75f, kBeta = -0.5f;

/// Copies the triangle below the diagonal to the other one.
void make_symmetric(const Tensor& x) {
  if (!x.data()) return;
  for (int i = 0; i < x.size(0); ++i)
    for (int j = 0; j < i; ++j) x.at(j).data()[i] = x.at(i).data()[j];
}

reference::Array expected(std::string_view layout, const Tensor& a, const Tensor& d) {
  using namespace reference;
  const Array x(a), t = transposed(x), c = layout == "tn" ? gemm_nn(t, x) : gemm_nn(x, t);
  return map(c, Array(d), [](Real c, Real d) { return Real(kAlpha) * c + Real(kBeta) * d; });
}

Workload workload_of(const GemmtLayout& layout, const std::vector<int>& sizes) {
  const std::string_view name = layout.name;
  // a symmetric A is square
  const int M = sizes.at(0), K = name == "nn" ? M : sizes.at(1);
  return {
      .op = "gemmt",
      .pass = {layout.name, "fwd", std::string(name) + "_"},
      .sizes = {M, K},
      .flops = 1. * M * (M + 1) * K,
      .bytes = 4. * (1. * M * K + 2. * M * M),
      .prepare = [=](Operands& o) -> Invocation {
        const Tensor a = name == "tn" ? o.uniform({K, M}) : o.uniform({M, K}),
                     d = o.uniform({M, M}), c = o.output({M, M});
        if (name == "nn") make_symmetric(a);
        make_symmetric(d);
        return {
            .run = [=] { layout.product(a, a, c, {.alpha = kAlpha, .d = d, .beta = kBeta}); },
            .expect = [=]() -> std::vector<Expected> { return {{"c", c, expected(name, a, d)}}; }};
      }};
}

Workload workload(std::string_view pass, const std::vector<int>& sizes) {
  for (const GemmtLayout& layout : kLayouts)
    if (pass == layout.name) return workload_of(layout, sizes);
  fail("gemmt has no pass {}", pass);
}

void add(Cases& cases) {
  for (const int D : {128, 256}) {
    cases.add(workload("nn", {D, D}));
    for (const char* pass : {"nt", "tn"})
      for (const int K : {D, 4 * D}) cases.add(workload(pass, {D, K}));
  }
}

}  // namespace

Description describe_gemmt() {
  return {.workload = workload,
          .tested = crossed({0, 1, 3, 8, 31, 32, 33, 65}, {{1}, {2}, {16}, {33}},
                            {{5, 0}, {128, 40}, {130, 257}, {257, 12}}),
          .add = add};
}

}  // namespace mmrec::bench
