#include "bench/reference/gemm.h"

#include <optional>
#include <set>
#include <string_view>
#include <tuple>
#include <type_traits>

#include "bench/rivals/rivals.h"
#include "bench/workloads/workloads.h"
#include "model/blocks/feed_forward.h"
#include "model/blocks/mmrec_block.h"
#include "model/config.h"
#include "runtime/ops/gemm.h"
#include "runtime/threads.h"

namespace mmrec::bench {

namespace {

template <class Factor>
using Product = void (*)(const Factor& a, const Factor& b, const Tensor& c,
                         const ops::GemmEpilogue& epilogue);

/// Memory layout of the operands of C = A B. Each layout is a pass of gemm, and so is packed B.
struct GemmLayout {
  const char* name;
  Product<Tensor> product;
  Product<Bf16Tensor> product_of_bf16;
  bool a_transposed, b_transposed;
};
constexpr GemmLayout kNN{"nn", ops::gemm_nn, ops::gemm_nn, false, false},
    kNT{"nt", ops::gemm_nt, ops::gemm_nt, false, true},
    kTN{"tn", ops::gemm_tn, ops::gemm_tn, true, false};
constexpr const GemmLayout* kLayouts[] = {&kNT, &kNN, &kTN};

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

/// Returns the workload of a product. make_factor(operands, shape) returns a factor, make_run(a, b,
/// c) the function that computes the product.
template <class MakeFactor, class MakeRun>
Workload product(const char* op, const GemmLayout& layout, const Shape& shape,
                 const MakeFactor& make_factor, const MakeRun& make_run) {
  const int M = shape.M, N = shape.N, K = shape.K;
  return {.op = op,
          .pass = {layout.name, "fwd", std::string(layout.name) + "_"},
          .sizes = {M, N, K},
          .flops = 2. * M * N * K,
          .bytes = 4. * (1. * M * K + 1. * K * N + 1. * M * N),
          .prepare = [=](Operands& o) -> Invocation {
            const auto factor = [&](int rows, int columns, bool transposed) {
              return transposed ? make_factor(o, columns, rows) : make_factor(o, rows, columns);
            };
            const auto a = factor(M, K, layout.a_transposed), b = factor(K, N, layout.b_transposed);
            const Tensor c = o.output({M, N});
            if (!c.data()) return {};
            return {.run = make_run(a, b, c), .expect = [=]() -> std::vector<Expected> {
                      std::optional<ScopedPrecision> as_it_is;  // bfloat16 is not rounded again
                      if (std::is_same_v<decltype(a), const Bf16Tensor>)
                        as_it_is.emplace(Precision::kFloat32);
                      const auto plain = [](const auto& x, bool transposed) {
                        return transposed ? reference::transposed(x) : reference::Array(x);
                      };
                      return {{"c", c,
                               reference::gemm_nn(plain(a, layout.a_transposed),
                                                  plain(b, layout.b_transposed))}};
                    }};
          }};
}

Tensor floats(Operands& o, int rows, int columns) { return o.uniform({rows, columns}); }

Workload own_product(const GemmLayout& layout, const Shape& shape) {
  return product("gemm", layout, shape, floats,
                 [layout](const Tensor& a, const Tensor& b, const Tensor& c) {
                   return [=] { layout.product(a, b, c, {}); };
                 });
}

/// Takes the bytes that factors of bfloat16 save.
void halve_factors(Workload& work, const Shape& shape) {
  work.bytes -= 2. * shape.K * (shape.M + shape.N);
}

Workload own_product_of_bf16(const GemmLayout& layout, const Shape& shape) {
  Workload work = product(
      "gemm_bf16", layout, shape,
      [](Operands& o, int rows, int columns) { return o.uniform_bf16({rows, columns}); },
      [layout](const Bf16Tensor& a, const Bf16Tensor& b, const Tensor& c) {
        return [=] { layout.product_of_bf16(a, b, c, {}); };
      });
  work.precision = Precision::kBf16;
  work.op_of_floats = "gemm";
  halve_factors(work, shape);
  return work;
}

/// Adds the other libraries' products of a precision to an operation's rows.
void add_rivals(Cases& cases, const char* op, Precision precision, const GemmLayout& layout,
                const Shape& shape) {
  for (const Rival& rival : rivals()) {
    if (rival.precision != precision) continue;
    if (rival.packed_b && !layout.b_transposed)
      continue;  // only weights of a layer are packed once for many products
    Workload work =
        product(op, layout, shape, floats, [=](const Tensor& a, const Tensor& b, const Tensor& c) {
          return rival.prepare({layout.a_transposed, layout.b_transposed, shape.M, shape.N, shape.K,
                                a.data(), b.data(), c.data()},
                               num_threads());
        });
    work.rest = rival.rest;
    work.precision = precision;
    if (precision == Precision::kBf16) halve_factors(work, shape);
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

const GemmLayout& layout_of(const char* op, std::string_view pass) {
  for (const GemmLayout* layout : kLayouts)
    if (pass == layout->name) return *layout;
  fail("{} has no pass {}", op, pass);
}

Workload workload(std::string_view pass, const std::vector<int>& sizes) {
  const Shape shape{sizes.at(0), sizes.at(1), sizes.at(2)};
  return pass == kPacked.registry ? packed_product(shape)
                                  : own_product(layout_of("gemm", pass), shape);
}

Workload workload_of_bf16(std::string_view pass, const std::vector<int>& sizes) {
  return own_product_of_bf16(layout_of("gemm_bf16", pass), {sizes.at(0), sizes.at(1), sizes.at(2)});
}

/// Calls add(layout, shape) for the products of the models' steps and for edge cases, each once.
template <class Add>
void for_each_product(const Add& add) {
  constexpr int kRows = 512;  // a batch of 2 x 256 tokens
  // Layers of different models may have the same sizes.
  std::set<std::tuple<std::string_view, int, int, int>> added;
  const auto add_once = [&](const GemmLayout& layout, const Shape& shape) {
    if (added.emplace(layout.name, shape.M, shape.N, shape.K).second) add(layout, shape);
  };
  for (const char* name : {"tiny", "mini", "small"})
    for (const Layer& layer : layers(preset(name))) {
      add_once(kNT, {kRows, layer.out, layer.in});  // forward
      add_once(kNN, {kRows, layer.in, layer.out});  // gradient of the input
      add_once(kTN, {layer.out, layer.in, kRows});  // gradient of the weights
    }
  for (const Shape& shape : kOddShapes)
    for (const GemmLayout* layout : kLayouts) add_once(*layout, shape);
}

void add(Cases& cases) {
  for_each_product([&](const GemmLayout& layout, const Shape& shape) {
    cases.add(own_product(layout, shape));
    add_rivals(cases, "gemm", Precision::kFloat32, layout, shape);
  });
  for (const ModelShape& shape : token_shapes())
    cases.add(packed_product({shape.N, shape.D, shape.D}));
}

void add_of_bf16(Cases& cases) {
  if (!why_no_bf16().empty()) return;
  for_each_product([&](const GemmLayout& layout, const Shape& shape) {
    cases.add(own_product_of_bf16(layout, shape));
    add_rivals(cases, "gemm_bf16", Precision::kBf16, layout, shape);
  });
}

const std::vector<std::vector<int>>& tested() {
  static const std::vector<std::vector<int>> all =
      crossed({0, 1, 5, 6, 7, 8, 9, 14, 16, 29},
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
               {700, 130, 70}});
  return all;
}

}  // namespace

Description describe_gemm() { return {.workload = workload, .tested = tested(), .add = add}; }

Description describe_gemm_bf16() {
  return {.workload = workload_of_bf16, .tested = tested(), .add = add_of_bf16};
}

}  // namespace mmrec::bench
