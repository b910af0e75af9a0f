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

/// How the operands of C = A B lie in memory, a pass of gemm each.
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

/// A linear layer's weights [out][in].
struct Layer {
  int out, in;
};

/// One of each size that a block has, and the head: projections, gates, the small networks of MDI's
/// gamma, the feed-forward layer.
std::vector<Layer> layers(const Config& config) {
  const int D = config.dim, R = MmrecBlock::mdi_gamma_width(D), F = ffn_width(D);
  return {{D, D}, {F, D}, {D, F}, {R, D}, {D, R}, {config.vocab_size, D}};
}

/// Edges: fewer rows than a register tile, sizes that no tile divides, a single row as in
/// generation, and a large square.
constexpr Shape kOddShapes[] = {{1, 512, 128}, {1, 5000, 128},  {512, 128, 33},
                                {17, 19, 33},  {512, 768, 128}, {1024, 1024, 1024}};

/// A product; make_run(a, b, c) returns what does it.
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
      continue;  // only a layer's weights serve many products
    Workload work = product(layout, shape, [=](const Tensor& a, const Tensor& b, const Tensor& c) {
      return rival.prepare({layout.a_transposed, layout.b_transposed, shape.M, shape.N, shape.K,
                            a.data(), b.data(), c.data()},
                           num_threads());
    });
    work.rest = rival.rest;
    cases.add(std::move(work), rival.variant);
  }
}

Workload workload(std::string_view pass, const std::vector<int>& sizes) {
  for (const GemmLayout& layout : {kNN, kNT, kTN})
    if (pass == layout.name) return own_product(layout, {sizes.at(0), sizes.at(1), sizes.at(2)});
  fail("gemm has no pass {}", pass);
}

void add(Cases& cases) {
  constexpr int kRows = 512;  // a batch of 2 x 256
  std::set<std::tuple<std::string_view, int, int, int>>
      added;  // some layers of two models have the same sizes
  const auto add_once = [&](const GemmLayout& layout, const Shape& shape) {
    if (added.emplace(layout.name, shape.M, shape.N, shape.K).second)
      add_product(cases, layout, shape);
  };
  for (const char* name : {"tiny", "mini", "small"})
    for (const Layer& layer : layers(preset(name))) {
      add_once(kNT, {kRows, layer.out, layer.in});  // forward
      add_once(kNN, {kRows, layer.in, layer.out});  // the gradient of its input
      add_once(kTN, {layer.out, layer.in, kRows});  // the gradient of its weights
    }
  for (const Shape& shape : kOddShapes)
    for (const GemmLayout& layout : {kNT, kNN, kTN}) add_once(layout, shape);
}

}  // namespace

Description describe_gemm() {
  return {.workload = workload,
          .tested = crossed(
              {0, 1, 5, 6, 7, 8, 9, 14, 16, 29},
              crossed({0, 1, 15, 16, 17, 32, 33, 48, 65, 97}, {{0}, {1}, {2}, {3}, {16}, {33}}),
              // Several blocks of every extent; as much as one task does, and a little less and
              // more; many tasks.
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
