#include "runtime/ops/rmsnorm.h"

#include "bench/reference/rmsnorm.h"
#include "tests/common/kernel_test.h"

namespace mmrec {
namespace {

/// `x_size`: largest magnitude in x. `aliased`: the residual and dX share memory.
void check_rmsnorm(int rows, int dim, float x_size, bool aliased, bool by_differences) {
  Random random;
  const std::vector<int> shape = {rows, dim};
  const GuardedTensor x = random.input(shape, -x_size, x_size), w = random.input({dim}, 0.5f, 1.5f);
  const GuardedTensor dy = random.input(shape), residual = random.input(shape);
  const reference::Rmsnorm want = reference::rmsnorm_forward(x, w);
  reference::RmsnormGradient want_gradient = reference::rmsnorm_backward(dy, residual, x, w);
  if (by_differences) {
    Array at_x = x, at_w = w;
    const auto loss = [&] {
      return dot(residual, at_x) + dot(dy, reference::rmsnorm_forward(at_x, at_w).y);
    };
    want_gradient.dx = proven("x", want_gradient.dx, reference::numeric_gradient(at_x, loss));
    want_gradient.dw = proven("w", want_gradient.dw, reference::numeric_gradient(at_w, loss));
  }
  const GuardedTensor saved_rstd = input(want.rstd);
  for_each_variant("rmsnorm", "forward", [&] {
    const GuardedTensor y = output(shape), rstd = output({rows});
    ops::rmsnorm_forward(x, w, y, rstd);
    expect_close("y", y, want.y);
    expect_close("rstd", rstd, want.rstd);
  });
  for_each_variant("rmsnorm", "backward", [&] {
    const GuardedTensor dx = aliased ? inout(residual) : output(shape), dw = added_to({dim});
    ops::rmsnorm_backward(dy, aliased ? dx : residual, x, saved_rstd, w, dx, dw);
    expect_close("dx", dx, want_gradient.dx);
    expect_added("dw", dw, want_gradient.dw);
  });
}

TEST(Rmsnorm, BackwardIsTheGradientOfForward) {
  for (int rows : {1, 3})
    for (int dim : {1, 5, 17}) check_rmsnorm(rows, dim, 1, false, true);
}

TEST(Rmsnorm, ResidualMayBeDx) { check_rmsnorm(33, 65, 1, true, false); }

// If rms(x) is as small as epsilon, it matters that epsilon is added outside the root. Large rows
// must not overflow.
TEST(Rmsnorm, TinyAndHugeRows) {
  for (float x_size : {1e-7f, 2e-6f, 1e-3f, 1e8f}) check_rmsnorm(5, 33, x_size, false, false);
}

TEST(Rmsnorm, RowsOfZeros) { check_rmsnorm(3, 20, 0, true, false); }

TEST(Rmsnorm, WrongShapes) {
  const GuardedTensor x = output({4, 6}), w = output({6}), rstd = output({4}),
                      wrong = output({4, 5});
  expect_error([&] { ops::rmsnorm_forward(x, rstd, x, rstd); }, {"rmsnorm"});
  expect_error([&] { ops::rmsnorm_forward(x, w, wrong, rstd); }, {"rmsnorm"});
  expect_error([&] { ops::rmsnorm_forward(x, w, x, w); }, {"rmsnorm"});
  expect_error([&] { ops::rmsnorm_backward(x, wrong, x, rstd, w, x, w); }, {"rmsnorm"});
  expect_error([&] { ops::rmsnorm_backward(x, x, x, rstd, w, x, rstd); }, {"rmsnorm"});
}

}  // namespace
}  // namespace mmrec
