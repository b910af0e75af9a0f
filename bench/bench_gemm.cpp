#include "bench/case.h"
#include "runtime/ops/gemm.h"

namespace mmrec::bench {

namespace {

struct Shape {
  int M, N, K;
};
/// Rows times a layer's weights, forward (nt) and for the gradient of its input (nn): tiny, mini, small, the head, a square.
constexpr Shape kLayers[] = {{512, 128, 128},  {512, 512, 128}, {512, 768, 128},  {512, 128, 512},  {768, 512, 128},   {512, 256, 256},
                             {512, 1024, 256}, {512, 512, 512}, {512, 2048, 512}, {512, 5000, 128}, {1024, 1024, 1024}};
/// The gradient of a layer's weights: K are the rows.
constexpr Shape kWeights[] = {{128, 128, 512},  {512, 128, 512},  {128, 512, 512},  {512, 128, 768},
                              {1024, 256, 512}, {2048, 512, 512}, {5000, 128, 512}, {1024, 1024, 1024}};

using Product = void (*)(const Tensor& a, const Tensor& b, const Tensor& c, const ops::GemmEpilogue& epilogue);

void add(Cases& cases, const char* layout, Product product, bool a_transposed, bool b_transposed, const Shape& shape) {
  const int M = shape.M, N = shape.N, K = shape.K;
  cases.add(
      {.op = "gemm", .pass = {layout, "fwd", std::string(layout) + "_"}, .sizes = {M, N, K}, .flops = 2. * M * N * K, .prepare = [=](Operands& o) {
         const Tensor a = a_transposed ? o.uniform({K, M}) : o.uniform({M, K}), b = b_transposed ? o.uniform({N, K}) : o.uniform({K, N});
         const Tensor c = o.zeros({M, N});
         return [=] { product(a, b, c, {}); };
       }});
}

}  // namespace

void add_gemm(Cases& cases) {
  for (const Shape& shape : kLayers) add(cases, "nt", ops::gemm_nt, false, true, shape);
  for (const Shape& shape : kLayers) add(cases, "nn", ops::gemm_nn, false, false, shape);
  for (const Shape& shape : kWeights) add(cases, "tn", ops::gemm_tn, true, false, shape);

  for (const ModelShape& shape : model_shapes()) {
    const int N = shape.N, D = shape.D;
    cases.add({.op = "column_sum", .pass = kForward, .sizes = {N, D}, .bytes = 4. * N * D, .prepare = [=](Operands& o) {
                 const Tensor x = o.uniform({N, D}), s = o.zeros({D});
                 return [=] { ops::column_sum(x, s); };
               }});
  }
}

}  // namespace mmrec::bench
