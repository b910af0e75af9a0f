#include "runtime/ops/scan.h"

#include "tests/kernel_test.h"
#include "tests/reference/scan.h"

namespace mmrec {
namespace {

struct Size {
  int rows, steps, columns;
};

std::vector<Size> sizes() {
  // Few columns and long T, those with vectors of their own; the documented benchmark.
  std::vector<Size> all = {{1, 1000, 3}, {2, 515, 1}, {1, 515, 2}, {3, 300, 4}, {1, 1000, 8}, {8, 128, 64}};
  for (int rows : {0, 1, 3})
    for (int steps : {0, 1, 2, 7, 8, 16, 33, 65, 130})
      for (int columns : {1, 5, 16, 17, 64, 65}) all.push_back({rows, steps, columns});
  return all;
}

const std::vector<Size> kSmall = {{1, 1, 1}, {2, 9, 3}, {1, 17, 5}};

/// Factors whose product over T neither vanishes nor overflows.
GuardedTensor factors(Random& random, const Size& size) {
  const float spread = 0.4f / static_cast<float>(1 + size.steps / 100);
  return random.input({size.rows, size.steps, size.columns}, 1 - spread, 1 + 0.5f * spread);
}

void check_scan(const Size& size, bool by_differences) {
  Random random;
  const GuardedTensor x = factors(random, size), dy = random.input({size.rows, size.steps, size.columns});
  // A variant may take exp of a sum of logs: what these are off by shows where few factors have been multiplied.
  const Array want_y = map(reference::scan_forward(x), [](Real y) { return Real(y.value, y.error + 2 * reference::kFunctionError * y.value); });
  Array want_dx = reference::scan_backward(dy, x);
  if (by_differences) {
    Array at = x;
    want_dx = proven("x", want_dx, reference::numeric_gradient(at, [&] { return dot(dy, reference::scan_forward(at)); }));
  }
  const GuardedTensor saved_y = input(want_y);
  for_each_variant("scan", "forward", [&] {
    const GuardedTensor y = output(want_y.shape());
    ops::scan_forward(x, y);
    expect_close("y", y, want_y);
  });
  for_each_variant("scan", "backward", [&] {
    const GuardedTensor dx = output(want_dx.shape());
    ops::scan_backward(dy, x, saved_y, dx);
    expect_close("dx", dx, want_dx);
  });
}

TEST(Scan, MatchesTheReference) {
  for (const Size& size : sizes()) check_scan(size, false);
}

TEST(Scan, BackwardIsTheGradientOfForward) {
  for (const Size& size : kSmall) check_scan(size, true);
}

// A decay of exactly 1 never changes the product: the log-space variant must not drift from it.
TEST(Scan, FactorsOfOne) {
  Array ones({2, 300, 17});
  for (size_t i = 0; i < ones.count(); ++i) ones[i] = Real(1, 1);
  const GuardedTensor x = input(ones);
  for_each_variant("scan", "forward", [&] {
    const GuardedTensor y = output(ones.shape());
    ops::scan_forward(x, y);
    expect_close("y", y, ones);
  });
}

TEST(Scan, WrongShapes) {
  const GuardedTensor x = output({2, 5, 3}), fewer_steps = output({2, 4, 3}), flat = output({10, 3});
  for (const GuardedTensor* wrong : {&fewer_steps, &flat}) {
    expect_error([&] { ops::scan_forward(x, *wrong); }, {"scan"});
    expect_error([&] { ops::scan_backward(*wrong, x, x, x); }, {"scan"});
    expect_error([&] { ops::scan_backward(x, x, x, *wrong); }, {"scan"});
  }
}

void check_affine_scan(const Size& size, bool by_differences) {
  Random random;
  const std::vector<int> shape = {size.rows, size.steps, size.columns};
  const GuardedTensor a = factors(random, size), b = random.input(shape), h0 = random.input({size.rows, size.columns}), dh = random.input(shape);
  const Array want_h = reference::affine_scan_forward(a, b, h0);
  reference::AffineScanGradient want = reference::affine_scan_backward(dh, a, b, h0);
  if (by_differences) {
    Array at_a = a, at_b = b, at_h0 = h0;
    const auto loss = [&] { return dot(dh, reference::affine_scan_forward(at_a, at_b, at_h0)); };
    want.da = proven("a", want.da, reference::numeric_gradient(at_a, loss));
    want.db = proven("b", want.db, reference::numeric_gradient(at_b, loss));
    want.dh0 = proven("h0", want.dh0, reference::numeric_gradient(at_h0, loss));
  }
  const GuardedTensor saved_h = input(want_h);
  for_each_variant("affine_scan", "forward", [&] {
    const GuardedTensor h = output(shape);
    ops::affine_scan_forward(a, b, h0, h);
    expect_close("h", h, want_h);
  });
  for_each_variant("affine_scan", "backward", [&] {
    const GuardedTensor da = output(shape), db = output(shape), dh0 = output({size.rows, size.columns});
    ops::affine_scan_backward(dh, a, saved_h, h0, da, db, dh0);
    expect_close("da", da, want.da);
    expect_close("db", db, want.db);
    expect_close("dh0", dh0, want.dh0);
  });
}

TEST(AffineScan, MatchesTheReference) {
  for (const Size& size : sizes()) check_affine_scan(size, false);
}

TEST(AffineScan, BackwardIsTheGradientOfForward) {
  for (const Size& size : kSmall) check_affine_scan(size, true);
}

TEST(AffineScan, WrongShapes) {
  const GuardedTensor x = output({2, 5, 3}), h0 = output({2, 3}), wrong = output({2, 4});
  expect_error([&] { ops::affine_scan_forward(x, x, wrong, x); }, {"affine_scan"});
  expect_error([&] { ops::affine_scan_forward(x, output({2, 5, 4}), h0, x); }, {"affine_scan"});
  expect_error([&] { ops::affine_scan_backward(x, x, x, h0, x, x, wrong); }, {"affine_scan"});
}

}  // namespace
}  // namespace mmrec
