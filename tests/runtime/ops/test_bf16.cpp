// Products with bfloat16 factors leave the bits of a software form of the CPU's instructions: pairs
// of factors, the second product added first, each rounded once, denormals taken as zero.
#include "runtime/ops/bf16_pairs.h"

#include <atomic>
#include <thread>

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

struct Layout {
  const char* name;
  void (*product)(const Tensor& a, const Tensor& b, const Tensor& c,
                  const ops::GemmEpilogue& epilogue);
  bool a_transposed, b_transposed;
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
                        b = layout.b_transposed ? factor(N, K) : factor(K, N), c = output({M, N});
    {
      const ScopedPrecision scoped(Precision::kBf16);
      layout.product(a, b, c, {});
    }
    constexpr float bias = 0;  // gemm adds it: it makes 0 of -0
    for (int m = 0; m < M; ++m)
      for (int n = 0; n < N; ++n) {
        const float want =
            software_sum(
                K, [&](int k) { return layout.a_transposed ? a[k * M + m] : a[m * K + k]; },
                [&](int k) { return layout.b_transposed ? b[n * K + k] : b[k * N + n]; }) +
            bias;
        ASSERT_EQ(std::bit_cast<uint32_t>(c[m * N + n]), std::bit_cast<uint32_t>(want))
            << m << " " << n << ": got " << c[m * N + n] << ", want " << want;
      }
  }
};

TEST_F(Bf16, ProductsLeaveTheBitsOfTheSoftwareForm) {
  for (const Layout& layout :
       {Layout{"nn", ops::gemm_nn, false, false}, Layout{"nt", ops::gemm_nt, false, true},
        Layout{"tn", ops::gemm_tn, true, false}}) {
    for (const int K : {1, 2, 3, 16, 33, 64, 257})
      for (const auto& [M, N] : {std::pair(1, 1), std::pair(7, 33), std::pair(40, 130)})
        check(layout, M, N, K, 0, 0);
    check(layout, 33, 65, 64, -20, 20);
    check(layout, 33, 65, 64, -130, -120);  // factors that are denormals
    check(layout, 33, 65, 64, -70, -58);    // sums that are
  }
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

TEST(Precision, CannotBeWhatTheCpuCannot) {
  if (why_no_bf16().empty())
    GTEST_SKIP() << "this machine has AVX512-BF16";
  else
    expect_error([] { ScopedPrecision{Precision::kBf16}; }, {"bfloat16", why_no_bf16()});
}

}  // namespace
}  // namespace mmrec
