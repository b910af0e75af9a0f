// Products with bfloat16 factors leave the bits of a software form of the CPU's instructions: pairs
// of factors, the second product added first, each rounded once, denormals taken as zero.
#include "runtime/ops/bf16_pairs.h"

#include <atomic>
#include <limits>
#include <thread>
#include <utility>
#include <vector>

#include "runtime/flush_denormals.h"
#include "runtime/ops/gemm.h"
#include "tests/common/kernel_test.h"

namespace mmrec {
namespace {

float rounded(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  return std::bit_cast<float>((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u);
}

/// sum over k of a(k) b(k).
template <class A, class B>
float software_sum(int K, const A& a, const B& b) {
  const FlushDenormals flush;
  float sum = 0;
  for (int k = 0; k < K; k += 2) {
    if (k + 1 < K) sum = std::fma(rounded(a(k + 1)), rounded(b(k + 1)), sum);
    sum = std::fma(rounded(a(k)), rounded(b(k)), sum);
  }
  return sum;
}

template <class Factor>
using Product = void (*)(const Factor& a, const Factor& b, const Tensor& c,
                         const ops::GemmEpilogue& epilogue);

struct Layout {
  const char* name;
  Product<Tensor> product;
  Product<Bf16Tensor> product_of_bf16;
  bool a_transposed, b_transposed;
};
constexpr Layout kNN{"nn", ops::gemm_nn, ops::gemm_nn, false, false},
    kNT{"nt", ops::gemm_nt, ops::gemm_nt, false, true},
    kTN{"tn", ops::gemm_tn, ops::gemm_tn, true, false};

/// The factors of a product as arrays of bfloat16, with rows `stride` apart.
struct Bf16Matrix {
  Bf16Matrix(const GuardedTensor& x, int rows, int columns, int stride)
      : elements(size_t(rows) * stride, 0x7fc0), rows(rows), columns(columns), stride(stride) {
    for (int row = 0; row < rows; ++row)
      for (int column = 0; column < columns; ++column)
        elements[row * stride + column] = static_cast<uint16_t>(
            std::bit_cast<uint32_t>(rounded(x[row * columns + column])) >> 16);
  }
  Bf16Tensor view() { return Bf16Tensor(elements.data(), {rows, stride}).columns(0, columns); }

  std::vector<uint16_t> elements;
  int rows, columns, stride;
};

class Bf16 : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = why_no_bf16(); !reason.empty()) GTEST_SKIP() << reason;
  }

  /// exponents: range of the factors' powers of two.
  static void check(const Layout& layout, int M, int N, int K, int lowest, int highest) {
    SCOPED_TRACE(fmt::format("{} {}x{}x{}, 2^{} to 2^{}", layout.name, M, N, K, lowest, highest));
    Random random;
    const auto factor = [&](int rows, int columns) {
      GuardedTensor x = output({rows, columns});
      for (int64_t i = 0; i < x.view().count(); ++i)
        x[i] = std::ldexp(random.uniform(-1, 1), lowest + random.below(highest - lowest + 1));
      x.freeze();
      return x;
    };
    const GuardedTensor a = layout.a_transposed ? factor(K, M) : factor(M, K),
                        b = layout.b_transposed ? factor(N, K) : factor(K, N);
    constexpr float bias = 0;  // gemm adds it: it makes 0 of -0
    std::vector<float> want;
    for (int m = 0; m < M; ++m)
      for (int n = 0; n < N; ++n)
        want.push_back(
            software_sum(
                K, [&](int k) { return layout.a_transposed ? a[k * M + m] : a[m * K + k]; },
                [&](int k) { return layout.b_transposed ? b[n * K + k] : b[k * N + n]; }) +
            bias);
    const auto expect_bits = [&](const auto& compute) {
      const GuardedTensor c = output({M, N});
      compute(c);
      for (int i = 0; i < M * N; ++i)
        ASSERT_EQ(std::bit_cast<uint32_t>(c[i]), std::bit_cast<uint32_t>(want[i]))
            << i / N << " " << i % N << ": got " << c[i] << ", want " << want[i];
    };
    expect_bits([&](const GuardedTensor& c) {
      const ScopedPrecision scoped(Precision::kBf16);
      layout.product(a, b, c, {});
    });
    // with rows beside each other, with rows an even number of elements apart, and an odd one
    for (const int gap : {0, 2, 3}) {
      SCOPED_TRACE(fmt::format("gap {}", gap));
      const auto matrix = [&](const GuardedTensor& x, int rows, int columns, bool transposed) {
        if (transposed) std::swap(rows, columns);
        return Bf16Matrix(x, rows, columns, columns + columns % 2 * (gap > 0) + gap);
      };
      Bf16Matrix a_halves = matrix(a, M, K, layout.a_transposed),
                 b_halves = matrix(b, K, N, layout.b_transposed);
      const auto check_kernel = [&] {
        // nt's direct sums in vectors along k
        if (layout.b_transposed && current_variant.variant.starts_with("direct")) return;
        expect_bits([&](const GuardedTensor& c) {
          layout.product_of_bf16(a_halves.view(), b_halves.view(), c, {});
        });
      };
      for_each_variant("gemm_bf16", layout.name, check_kernel, registry::kBf16);
    }
  }
};

TEST_F(Bf16, ProductsLeaveTheBitsOfTheSoftwareForm) {
  for (const Layout& layout : {kNN, kNT, kTN}) {
    for (const int K : {1, 2, 3, 16, 33, 64, 257})
      for (const auto& [M, N] : {std::pair(1, 1), std::pair(7, 33), std::pair(40, 130)})
        check(layout, M, N, K, 0, 0);
    check(layout, 33, 65, 64, -20, 20);
    check(layout, 33, 65, 64, -130, -120);  // factors that are denormals
    check(layout, 33, 65, 64, -70, -58);    // sums that are
  }
}

TEST_F(Bf16, RoundsToTheNearestTiesToEven) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr std::pair<float, float> kRounded[] = {
      {0x1.00p0f, 0x1.00p0f},     {0x1.01p0f, 0x1.00p0f},         {0x1.010002p0f, 0x1.02p0f},
      {0x1.03p0f, 0x1.04p0f},     {-0x1.01p0f, -0x1.00p0f},       {-0x1.03p0f, -0x1.04p0f},
      {0x1.02fffep0f, 0x1.02p0f}, {0x1.ffp-3f, 0x1p-2f},          {0x1p-126f, 0x1p-126f},
      {0x1.fep127f, 0x1.fep127f}, {0x1.fefffep127f, 0x1.fep127f}, {0x1.ffp127f, kInfinity},
      {-FLT_MAX, -kInfinity},     {kInfinity, kInfinity},         {-0.f, -0.f}};
  std::vector<float> column, want;
  for (const auto& [value, nearest] : kRounded) {
    column.push_back(value);
    want.push_back(nearest);
  }
  const int count = static_cast<int>(column.size());
  std::vector<int32_t> pairs(column.size());
  const auto expect_rounded = [&] {
    for (size_t i = 0; i < column.size(); ++i)
      EXPECT_EQ(static_cast<uint32_t>(pairs[i]), std::bit_cast<uint32_t>(want[i]) >> 16)
          << column[i];
  };
  // a column of one element has pairs of it and 0
  ops::bf16_pairs_in_rows({column.data(), {count, 1}}, {pairs.data(), {count, 1}});
  expect_rounded();
  ops::Weight weight(Tensor(column.data(), {count, 1}));
  std::vector<float> packed(ops::weight_panels(count) * kWeightPanel);
  weight.factors = Precision::kBf16;
  weight.packed = Tensor(packed.data(), {ops::weight_panels(count), 1, kWeightPanel});
  ops::pack(weight, {});
  std::copy_n(weight.packed_pairs().data(), count, pairs.data());
  expect_rounded();
}

TEST_F(Bf16, OnlyProductsChange) {
  Random random;
  const GuardedTensor x = random.input({9, 33}), a = output({33}), b = output({33});
  ops::column_sum(inout(x.array()), a);
  const ScopedPrecision scoped(Precision::kBf16);
  ops::column_sum(inout(x.array()), b);
  EXPECT_EQ(a.bits(), b.bits());
}

TEST_F(Bf16, LoopsHaveThePrecisionOfTheirCaller) {
  const ScopedThreads threads(3);
  std::atomic<int> others = 0;
  const auto count_others = [&](Precision expected) {
    parallel_for(64, [&](int) { others += precision() != expected; });
  };
  {
    const ScopedPrecision scoped(Precision::kBf16);
    count_others(Precision::kBf16);
    std::thread([&] { others += precision() != Precision::kFloat32; }).join();
  }
  count_others(Precision::kFloat32);
  EXPECT_EQ(others, 0);
}

TEST_F(Bf16, ArraysMustFit) {
  const GuardedTensor c = output({2, 3});
  std::vector<uint16_t> elements(12);
  expect_error([&] { ops::gemm_nt({elements.data(), {2, 4}}, {elements.data(), {2, 4}}, c); },
               {"gemm_nt: c", "[2,2]"});
  expect_error([&] { ops::gemm_nn({elements.data(), {2, 4}}, {elements.data(), {3, 3}}, c); },
               {"gemm_nn: b", "[4,-1]"});
}

TEST(Precision, CannotBeWhatTheCpuCannot) {
  if (why_no_bf16().empty()) GTEST_SKIP() << "this machine has AVX512-BF16";
  expect_error([] { ScopedPrecision{Precision::kBf16}; },
               {"bfloat16", why_no_bf16(), "use float32"});
  std::vector<uint16_t> elements(4);
  std::vector<float> c(4);
  const Bf16Tensor factor(elements.data(), {2, 2});
  expect_error([&] { ops::gemm_nn(factor, factor, {c.data(), {2, 2}}); },
               {"bfloat16", why_no_bf16()});
}

}  // namespace
}  // namespace mmrec
