#include "runtime/ops/hem.h"

#include "bench/reference/hem.h"
#include "tests/common/kernel_test.h"

namespace mmrec {
namespace {

struct Size {
  int rows, dim, outputs;
};

void check_hem(const Size& size, bool aliased, bool by_differences, float x_size = 1) {
  Random random;
  const int rows = size.rows, dim = size.dim, outputs = size.outputs;
  const GuardedTensor x = random.input({rows, dim}, -x_size, x_size),
                      norm_weight = random.input({dim}, 0.5f, 1.5f);
  const GuardedTensor weight = random.input({outputs, dim}), bias = random.input({outputs}),
                      dy = random.input({rows, outputs}), residual = random.input({rows, dim});
  const reference::Hem want = reference::hem_forward(x, norm_weight, weight, bias);
  reference::HemGradient gradient = reference::hem_backward(dy, residual, x, norm_weight, weight);
  if (by_differences) {
    Array at_x = x, at_norm = norm_weight, at_weight = weight, at_bias = bias;
    const auto loss = [&] {
      return dot(residual, at_x) +
             dot(dy, reference::hem_forward(at_x, at_norm, at_weight, at_bias).y);
    };
    gradient.dx = proven("x", gradient.dx, reference::numeric_gradient(at_x, loss));
    gradient.dnorm_weight =
        proven("norm_weight", gradient.dnorm_weight, reference::numeric_gradient(at_norm, loss));
    gradient.dweight =
        proven("weight", gradient.dweight, reference::numeric_gradient(at_weight, loss));
    gradient.dbias = proven("bias", gradient.dbias, reference::numeric_gradient(at_bias, loss));
  }
  const GuardedTensor saved_rstd = input(want.rstd);
  for_each_variant("hem", "forward", [&] {
    const GuardedTensor rstd = output({rows}), y = output({rows, outputs});
    ops::hem_forward(x, norm_weight, weight, bias, rstd, y);
    expect_close("rstd", rstd, want.rstd);
    expect_close("y", y, want.y);
  });
  for_each_variant("hem", "backward", [&] {
    const GuardedTensor dx = aliased ? inout(residual) : output({rows, dim}),
                        dnorm_weight = added_to({dim});
    const GuardedTensor dweight = added_to({outputs, dim}), dbias = added_to({outputs});
    ops::hem_backward(dy, aliased ? dx : residual, x, saved_rstd, norm_weight, weight, dx,
                      dnorm_weight, dweight, dbias);
    expect_close("dx", dx, gradient.dx);
    expect_added("dnorm_weight", dnorm_weight, gradient.dnorm_weight);
    expect_added("dweight", dweight, gradient.dweight);
    expect_added("dbias", dbias, gradient.dbias);
  });
}

TEST(Hem, BackwardIsTheGradientOfForward) {
  for (const Size& size : std::vector<Size>{{1, 1, 1}, {3, 5, 17}, {2, 17, 6}})
    check_hem(size, false, true);
}

TEST(Hem, ResidualMayBeDx) { check_hem({33, 48, 32}, true, false); }

TEST(Hem, RowsOfZeros) { check_hem({3, 20, 5}, false, false, 0); }

TEST(Hem, WrongShapes) {
  const GuardedTensor x = output({4, 6}), w = output({6}), weight = output({9, 6}),
                      bias = output({9}), rstd = output({4}), y = output({4, 9});
  const GuardedTensor wrong = output({5, 7});
  expect_error([&] { ops::hem_forward(x, w, wrong, bias, rstd, y); }, {"hem"});
  expect_error([&] { ops::hem_forward(x, w, weight, bias, rstd, wrong); }, {"hem"});
  expect_error([&] { ops::hem_forward(x, w, weight, w, rstd, y); }, {"hem"});
  expect_error([&] { ops::hem_backward(y, x, x, rstd, w, weight, x, w, wrong, bias); }, {"hem"});
  expect_error([&] { ops::hem_backward(wrong, x, x, rstd, w, weight, x, w, weight, bias); },
               {"hem"});
}

}  // namespace
}  // namespace mmrec
