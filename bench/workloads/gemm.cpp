#include "bench/reference/gemm.h"

#include <set>
#include <string_view>
#include <tuple>

#include "bench/rivals/rivals.h"
#include "bench/workloads/workloads.h"
#include "model/blocks/feed_forward.h"
#include "model/blocks/mmrec_block.h"
#include "model/config.h"
#include "runtime/ops/gemm.h"
#include "runtime/threads.h"

namespace mmrec::bench {

namespace {

/// Memory layout of the operands of C = A B. Each layout is a pass of gemm, and so is packed B.
struct GemmLayout {
  const char* name;
  void (*product)(const Tensor& a, const Tensor& b, const Tensor& c,
                  const ops::GemmEpilogue& epilogue);
  bool a_transposed, b_transposed;
};
constexpr GemmLayout kNN{"nn", ops::gemm_nn, false, false}, kNT{"nt", ops::gemm_nt, false, true},
    kTN{"tn", ops::gemm_tn, true, false};

struct Shape {
  int M, N, K;
};

/// A linear layer with weights [out][in].
struct Layer {
  int out, in;
};

/// Returns one layer of each size in a model: projections and gates, the feed-forward layer, the
/// small networks of MDI's gamma, and the head.
std::vector<Layer> layers(const Config& config) {
  const int D = config.dim, R = MmrecBlock::mdi_gamma_width(D), F = ffn_width(D);
  return {{D, D}, {F, D}, {D, F}, {R, D}, {D, R}, {config.vocab_size, D}};
}

/// Edge cases: one row (generation), few rows, sizes that no tile divides, and a large square.
constexpr Shape kOddShapes[] = {{1, 512, 128}, {1, 5000, 128},  {512, 128, 33},
                                {17, 19, 33},  {512, 768, 128}, {1024, 1024, 1024}};

/// Returns the workload of a product. make_run(a, b, c) returns the function that computes it.
template <class MakeRun>
Workload product(const GemmLayout& layout, const Shape& shape, const MakeRun& make_run) {
  const int M = shape.M, N = shape.N, K = shape.K;
  return {.op = "gemm",
          .pass = {layout.name, "fwd", std::string(layout.name) + "_"},
          .sizes = {M, N, K},
          .flops = 2. * M * N * K,
          .bytes = 4. * (1. * M * K + 1. * K * N + 1. * M * N),
          .prepare = [=](Operands& o) -> Invocation {
            const Tensor a = layout.a_transposed ? o.uniform({K, M}) : o.uniform({M, K});
            const Tensor b = layout.b_transposed ? o.uniform({N, K}) : o.uniform({K, N});
            const Tensor c = o.output({M, N});
            if (!c.data()) return {};
            return {.run = make_run(a, b, c), .expect = [=]() -> std::vector<Expected> {
                      const auto plain = [](const Tensor& x, bool transposed) {
                        return transposed ? reference::transposed(x) : reference::Array(x);
                      };
                      return {{"c", c,
                               reference::gemm_nn(plain(a, layout.a_transposed),
                                                  plain(b, layout.b_transposed))}};
                    }};
          }};
}

Workload own_product(const GemmLayout& layout, const Shape& shape) {
  return product(layout, shape, [layout](const Tensor& a, const Tensor& b, const Tensor& c) {
    return [=] { layout.product(a, b, c, {}); };
  });
}

void add_product(Cases& cases, const GemmLayout& layout, const Shape& shape) {
  cases.add(own_product(layout, shape));
  for (const Rival& rival : rivals()) {
    if (rival.packed_b && !layout.b_transposed)
      continue;  // only weights of a layer are packed once for many products
    if (rival.precision == Precision::kBf16 && !why_no_bf16().empty()) continue;
    Workload work = product(layout, shape, [=](const Tensor& a, const Tensor& b, const Tensor& c) {
      return rival.prepare({layout.a_transposed, layout.b_transposed, shape.M, shape.N, shape.K,
                            a.data(), b.data(), c.data()},
                           num_threads());
    });
    work.rest = rival.rest;
    work.precision = rival.precision;
    if (rival.precision == Precision::kBf16) work.bytes -= 2. * shape.K * (shape.M + shape.N);
    cases.add(std::move(work), rival.variant);
  }
}

/// nt with B packed before the call.
Workload packed_product(const Shape& shape) {
  const auto [M, N, K] = shape;
  return {.op = "gemm",
          .pass = {kPacked.registry, "fwd", "packed_"},
          .sizes = {M, N, K},
          .flops = 2. * M * N * K,
          .bytes = 4. * (1. * M * K + 1. * K * N + 1. * M * N),
          .prepare = [=](Operands& o) -> Invocation {
            const Tensor a = o.uniform({M, K}), c = o.output({M, N});
            const ops::Weight b = random_weight(o, N, K, true);
            return {.before = [=] { pack_for_call(b); },
                    .run = [=] { ops::linear(a, b, c); },
                    .expect = [=]() -> std::vector<Expected> {
                      return {{"c", c, reference::gemm_nn(a, reference::transposed(b))}};
                    }};
          }};
}

Workload workload(std::string_view pass, const std::vector<int>& sizes) {
  if (pass == kPacked.registry) return packed_product({sizes.at(0), sizes.at(1), sizes.at(2)});
  for (const GemmLayout& layout : {kNN, kNT, kTN})
    if (pass == layout.name) return own_product(layout, {sizes.at(0), sizes.at(1), sizes.at(2)});
  fail("gemm has no pass {}", pass);
}

void add(Cases& cases) {
  constexpr int kRows = 512;  // a batch of 2 x 256 tokens
  // Layers of different models may have the same sizes.
  std::set<std::tuple<std::string_view, int, int, int>> added;
  const auto add_once = [&](const GemmLayout& layout, const Shape& shape) {
    if (added.emplace(layout.name, shape.M, shape.N, shape.K).second)
      add_product(cases, layout, shape);
  };
  for (const char* name : {"tiny", "mini", "small"})
    for (const Layer& layer : layers(preset(name))) {
      add_once(kNT, {kRows, layer.out, layer.in});  // forward
      add_once(kNN, {kRows, layer.in, layer.out});  // gradient of the input
      add_once(kTN, {layer.out, layer.in, kRows});  // gradient of the weights
    }
  for (const Shape& shape : kOddShapes)
    for (const GemmLayout& layout : {kNT, kNN, kTN}) add_once(layout, shape);
  for (const ModelShape& shape : token_shapes())
    cases.add(packed_product({shape.N, shape.D, shape.D}));
}

}  // namespace

Description describe_gemm() {
  return {.workload = workload,
          .tested = crossed(
              {0, 1, 5, 6, 7, 8, 9, 14, 16, 29},
              crossed({0, 1, 15, 16, 17, 32, 33, 48, 65, 97}, {{0}, {1}, {2}, {3}, {16}, {33}}),
              // Several blocks along every dimension; exactly one task's work, a little less and a
              // little more; many tasks.
              {{65, 200, 300},
               {14, 520, 257},
               {130, 131, 515},
               {16, 64, 63},
               {16, 64, 64},
               {16, 64, 65},
               {70, 130, 700},
               {700, 130, 70}}),
          .add = add};
}

}  // namespace mmrec::bench
