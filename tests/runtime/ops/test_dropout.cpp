#include "runtime/ops/dropout.h"

#include "bench/reference/dropout.h"
#include "tests/common/kernel_test.h"

namespace mmrec {
namespace {

constexpr DropoutKey kKey{0x9e3779b9u, 0x7f4a7c15u};

/// `aliased`: da and dy share memory.
void check_dropout(int rows, int dim, float p, RowLayout layout, bool aliased,
                   bool by_differences) {
  Random random;
  const std::vector<int> shape = {rows, dim};
  constexpr float kBeta = 0.1f;
  const ops::Dropout mask{p, kKey};
  const GuardedTensor residual = random.input(shape, layout), a = random.input(shape, layout),
                      b = random.input(shape, layout);
  const GuardedTensor dy = random.input(shape, layout);
  const Array want_y = reference::dropout_forward(residual, a, b, kBeta, mask);
  reference::DropoutGradient want = reference::dropout_backward(dy, kBeta, mask);
  if (by_differences) {
    Array at_a = a, at_b = b;
    const auto loss = [&] {
      return dot(dy, reference::dropout_forward(residual, at_a, at_b, kBeta, mask));
    };
    want.da = proven("a", want.da, reference::numeric_gradient(at_a, loss));
    want.db = proven("b", want.db, reference::numeric_gradient(at_b, loss));
  }
  for_each_variant("dropout", "forward", [&] {
    const GuardedTensor y = output(shape, layout);
    ops::dropout_forward(residual, a, b, kBeta, mask, y);
    expect_close("y", y, want_y);
  });
  for_each_variant("dropout", "backward", [&] {
    const GuardedTensor da = aliased ? inout(dy, layout) : output(shape, layout),
                        db = output(shape, layout);
    ops::dropout_backward(aliased ? da : dy, kBeta, mask, da, db);
    expect_close("da", da, want.da);
    expect_close("db", db, want.db);
  });
}

TEST(Dropout, EveryLayoutAndProbability) {
  for (float p : {0.f, 0.1f, 0.5f})
    for (RowLayout layout : {kDense, kStrided})
      for (bool aliased : {false, true})
        for (int dim : {1, 17, 64}) check_dropout(33, dim, p, layout, aliased, false);
}

TEST(Dropout, BackwardIsTheGradientOfForward) { check_dropout(5, 9, 0.3f, kDense, false, true); }

TEST(Dropout, WrongShapes) {
  const GuardedTensor x = output({4, 6}), wrong = output({6, 4});
  expect_error([&] { ops::dropout_forward(wrong, x, x, 1, {}, x); }, {"dropout"});
  expect_error([&] { ops::dropout_forward(x, x, wrong, 1, {}, x); }, {"dropout"});
  expect_error([&] { ops::dropout_backward(x, 1, {}, wrong, x); }, {"dropout"});
  expect_error([&] { ops::dropout_backward(x, 1, {}, x, wrong); }, {"dropout"});
}

}  // namespace
}  // namespace mmrec
