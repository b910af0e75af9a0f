#include "runtime/ops/gemm.h"

#include "bench/reference/gemm.h"
#include "tests/common/kernel_test.h"

namespace mmrec {
namespace {

struct Size {
  int m, n, k;
};

enum class Epilogue { kNone, kBias, kResidual, kBiasAndResidual, kAccumulate };
constexpr int kEpilogues = 5;

/// One of the three layouts: its operands' layout in memory, and its function.
struct OwnProduct {
  const char* name;
  bool a_transposed, b_transposed;
  void (*call)(const Tensor&, const Tensor&, const Tensor&, const ops::GemmEpilogue&);
};
const OwnProduct kProducts[] = {{"nn", false, false, ops::gemm_nn},
                                {"nt", false, true, ops::gemm_nt},
                                {"tn", true, false, ops::gemm_tn}};

void check_gemm(const Size& size, Epilogue kind, RowLayout layout) {
  Random random;
  const int m = size.m, n = size.n, k = size.k;
  const GuardedTensor a = random.input({m, k}, layout), b = random.input({k, n}, layout),
                      bias = random.input({n});
  const GuardedTensor residual = random.input({m, n}, layout);
  const bool with_bias = kind == Epilogue::kBias || kind == Epilogue::kBiasAndResidual;
  const bool with_residual = kind == Epilogue::kResidual || kind == Epilogue::kBiasAndResidual ||
                             kind == Epilogue::kAccumulate;
  const float beta = kind == Epilogue::kBiasAndResidual ? -0.75f : 1.f;
  const Array want = reference::gemm_nn(a, b, with_bias ? bias.array() : Array(),
                                        with_residual ? residual.array() : Array(), beta);
  for (const OwnProduct& gemm : kProducts) {
    const GuardedTensor first = input(gemm.a_transposed ? reference::transposed(a) : a, layout);
    const GuardedTensor second = input(gemm.b_transposed ? reference::transposed(b) : b, layout);
    for_each_variant("gemm", gemm.name, [&] {
      const GuardedTensor c =
          kind == Epilogue::kAccumulate ? inout(residual, layout) : output({m, n}, layout);
      ops::GemmEpilogue epilogue;
      if (with_bias) epilogue.bias = bias;
      if (with_residual) {
        epilogue.residual = kind == Epilogue::kAccumulate ? c : residual;
        epilogue.beta = beta;
      }
      gemm.call(first, second, c, epilogue);
      expect_close("C", c, want);
    });
  }
}

TEST(Gemm, EveryEpilogueInEveryLayout) {
  for (const Size& size : std::vector<Size>{{1, 1, 1},
                                            {5, 17, 0},
                                            {13, 33, 7},
                                            {14, 64, 32},
                                            {70, 130, 65},
                                            {14, 520, 257},
                                            {30, 67, 515},
                                            {520, 17, 7}})
    for (int kind = 0; kind < kEpilogues; ++kind)
      for (RowLayout layout : {kDense, kStrided})
        check_gemm(size, static_cast<Epilogue>(kind), layout);
}

// `blocked` adds the products of an element in the order of k, as `packed` does.
TEST(Gemm, BlocksKeepTheBits) {
  Random random;
  const int M = 70, N = 300, K = 1100;
  for (const OwnProduct& gemm : kProducts) {
    SCOPED_TRACE(gemm.name);
    const GuardedTensor a = gemm.a_transposed ? random.input({K, M}) : random.input({M, K}),
                        b = gemm.b_transposed ? random.input({N, K}) : random.input({K, N}),
                        packed = output({M, N}), blocked = output({M, N});
    {
      const ScopedVariant forced("gemm", "packed");
      gemm.call(a, b, packed, {});
    }
    const ScopedVariant forced("gemm", "blocked");
    gemm.call(a, b, blocked, {});
    EXPECT_EQ(packed.bits(), blocked.bits());
  }
}

// beta defaults to 0. The residual then has no effect, even if it is NaN.
TEST(Gemm, ResidualWithBetaZero) {
  Random random;
  const GuardedTensor a = random.input({7, 9}), b = random.input({9, 18});
  const Array want = reference::gemm_nn(a, b);
  for_each_variant("gemm", "nn", [&] {
    const GuardedTensor c = output({7, 18});
    ops::gemm_nn(a, b, c, {.bias = {}, .residual = c, .beta = 0});
    expect_close("C", c, want);
  });
}

// The three passes are each other's gradients: for y = x W^T, dx = dy W and dW = dy^T x.
TEST(Gemm, GradientsOfALinearLayer) {
  Random random;
  const GuardedTensor x = random.input({5, 7}), w = random.input({18, 7}),
                      bias = random.input({18}), dy = random.input({5, 18});
  Array at_x = x, at_w = w, at_bias = bias;
  const auto loss = [&] { return dot(dy, reference::linear_forward(at_x, at_w, at_bias)); };
  const reference::LinearGradient formula = reference::linear_backward(dy, x, w);
  const Array want_dx = proven("x", formula.dx, reference::numeric_gradient(at_x, loss));
  const Array want_dw = proven("w", formula.dweight, reference::numeric_gradient(at_w, loss));
  const Array want_dbias =
      proven("bias", formula.dbias, reference::numeric_gradient(at_bias, loss));
  for_each_variant("gemm", "gradients", [&] {
    const GuardedTensor dx = output({5, 7}), dw = added_to({18, 7}), dbias = added_to({18});
    ops::gemm_nn(dy, w, dx);
    ops::linear_gradients(dy, x, dw, dbias);
    expect_close("dx", dx, want_dx);
    expect_added("dW", dw, want_dw);
    expect_added("dbias", dbias, want_dbias);
  });
}

TEST(Gemm, WrongShapes) {
  const GuardedTensor a = output({4, 6}), b = output({6, 8}), b_rows = output({8, 6}),
                      c = output({4, 8}), wrong = output({5, 8});
  for (const OwnProduct& gemm : kProducts) {
    const GuardedTensor &first = gemm.a_transposed ? b : a,
                        &second = gemm.b_transposed ? b_rows : b;
    const GuardedTensor product = gemm.a_transposed ? output({8, 8}) : output({4, 8});
    expect_error([&] { gemm.call(first, second, wrong, {}); }, {"gemm"});
    expect_error([&] { gemm.call(first, wrong, product, {}); }, {"gemm"});
    expect_error(
        [&] {
          gemm.call(first, second, product, {.bias = output({7}), .residual = {}, .beta = 0});
        },
        {"gemm"});
    expect_error(
        [&] { gemm.call(first, second, product, {.bias = {}, .residual = wrong, .beta = 1}); },
        {"gemm"});
  }
}

TEST(ColumnSum, StridedRows) {
  Random random;
  for (int columns : {1, 17, 130}) {
    const GuardedTensor x = random.input({33, columns}, kStrided);
    const Array want = reference::column_sum(x);
    for_each_variant("column_sum", "forward", [&] {
      const GuardedTensor s = added_to({columns});
      ops::column_sum(x, s);
      expect_added("s", s, want);
    });
  }
}

TEST(ColumnSum, WrongShapes) {
  expect_error([] { ops::column_sum(output({3, 4}), output({3})); }, {"column_sum"});
}

}  // namespace
}  // namespace mmrec
