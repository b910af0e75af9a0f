#include "runtime/ops/scan.h"

#include "bench/reference/scan.h"
#include "runtime/arena.h"
#include "tests/common/kernel_test.h"

namespace mmrec {
namespace {

struct Size {
  int rows, steps, columns;
};

const std::vector<Size> kSmall = {{1, 1, 1}, {2, 9, 3}, {1, 17, 5}};

/// Returns factors whose product over T neither vanishes nor overflows.
GuardedTensor factors(Random& random, const Size& size) {
  const float spread = 0.4f / static_cast<float>(1 + size.steps / 100);
  return random.input({size.rows, size.steps, size.columns}, 1 - spread, 1 + 0.5f * spread);
}

void check_scan(const Size& size, bool by_differences) {
  Random random;
  const GuardedTensor x = factors(random, size),
                      dy = random.input({size.rows, size.steps, size.columns});
  // A variant may compute exp of a sum of logs. The function errors of exp and log dominate if only
  // few factors are multiplied.
  const Array want_y = map(reference::scan_forward(x), [](Real y) {
    return Real(y.value, y.error + 2 * reference::kFunctionError * y.value);
  });
  Array want_dx = reference::scan_backward(dy, x);
  if (by_differences) {
    Array at = x;
    want_dx = proven("x", want_dx, reference::numeric_gradient(at, [&] {
                       return dot(dy, reference::scan_forward(at));
                     }));
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

TEST(Scan, FactorsFarFromOne) {
  for (const Size& size : {Size{3, 130, 65}, Size{1, 65, 17}, Size{3, 99, 1}})
    check_scan(size, false);
}

TEST(Scan, BackwardIsTheGradientOfForward) {
  for (const Size& size : kSmall) check_scan(size, true);
}

// A decay of exactly 1 never changes the product. The log-space variant must not drift.
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
  const GuardedTensor x = output({2, 5, 3}), fewer_steps = output({2, 4, 3}),
                      flat = output({10, 3});
  for (const GuardedTensor* wrong : {&fewer_steps, &flat}) {
    expect_error([&] { ops::scan_forward(x, *wrong); }, {"scan"});
    expect_error([&] { ops::scan_backward(*wrong, x, x, x); }, {"scan"});
    expect_error([&] { ops::scan_backward(x, x, x, *wrong); }, {"scan"});
  }
}

void check_affine_scan(const Size& size, bool by_differences) {
  Random random;
  const std::vector<int> shape = {size.rows, size.steps, size.columns};
  const GuardedTensor a = factors(random, size), b = random.input(shape),
                      h0 = random.input({size.rows, size.columns}), dh = random.input(shape);
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
    const GuardedTensor da = output(shape), db = output(shape),
                        dh0 = output({size.rows, size.columns});
    ops::affine_scan_backward(dh, a, saved_h, h0, da, db, dh0);
    expect_close("da", da, want.da);
    expect_close("db", db, want.db);
    expect_close("dh0", dh0, want.dh0);
  });
}

TEST(AffineScan, BackwardIsTheGradientOfForward) {
  for (const Size& size : kSmall) check_affine_scan(size, true);
}

/// Time is outermost in memory, as in a model's rows. The results must equal those of separate
/// sequences bit for bit.
TEST(AffineScan, AcceptsTimeMajorRows) {
  for (const Size& size : {Size{1, 9, 5}, {3, 40, 64}, {6, 33, 130}, {2, 70, 4}}) {
    Random random;
    const std::vector<int> shape = {size.rows, size.steps, size.columns},
                           by_time = {size.steps, size.rows, size.columns};
    const GuardedTensor a = factors(random, size), b = random.input(shape),
                        h0 = random.input({size.rows, size.columns}), dh = random.input(shape);
    const auto swapped = [&](const GuardedTensor& tensor) {
      GuardedTensor copy(by_time);
      for (int64_t i = 0; i < tensor.view().count(); ++i)
        reference::element(copy.view().swap_outer(), i) = tensor[i];
      copy.freeze();
      return copy;
    };
    const GuardedTensor at = swapped(a), bt = swapped(b), dht = swapped(dh);
    const auto expect_same = [&](const char* name, const GuardedTensor& got,
                                 const GuardedTensor& want) {
      for (int64_t i = 0; i < want.view().count(); ++i)
        ASSERT_EQ(reference::element(got.view().swap_outer(), i), want[i])
            << current_variant_string() << ", " << name << " " << i;
    };
    for_each_variant("affine_scan", "forward and backward", [&] {
      const GuardedTensor h = output(shape), da = output(shape), db = output(shape),
                          dh0 = output({size.rows, size.columns});
      const GuardedTensor ht = output(by_time), dat = output(by_time), dbt = output(by_time),
                          dh0t = output({size.rows, size.columns});
      ops::affine_scan_forward(a, b, h0, h);
      ops::affine_scan_forward(at.view().swap_outer(), bt.view().swap_outer(), h0,
                               ht.view().swap_outer());
      expect_same("h", ht, h);
      ops::affine_scan_backward(dh, a, h, h0, da, db, dh0);
      ops::affine_scan_backward(dht.view().swap_outer(), at.view().swap_outer(),
                                ht.view().swap_outer(), h0, dat.view().swap_outer(),
                                dbt.view().swap_outer(), dh0t);
      expect_same("da", dat, da);
      expect_same("db", dbt, db);
      EXPECT_EQ(dh0t.bits(), dh0.bits()) << current_variant_string();
    });
  }
}

/// Tensors larger than the caches, with any RowLayout. They have no guards, unlike the small test
/// tensors.
class LargeTensors {
 public:
  LargeTensors(std::vector<int> shape, RowLayout layout)
      : shape_(std::move(shape)), shift_(layout == kStrided ? 3 : 0) {}

  Tensor filled(float low, float high) {
    const Tensor whole =
        memory_.emplace_back(bytes()).tensor({shape_[0], shape_[1], shape_[2] + shift_});
    uint32_t state = static_cast<uint32_t>(memory_.size());
    for (int64_t i = 0; i < whole.count(); ++i) {
      state = state * 1664525 + 1013904223;
      whole.data()[i] = low + (high - low) * std::ldexp(static_cast<float>(state >> 8), -24);
    }
    return whole.columns(shift_, shift_ + shape_[2]);
  }
  Tensor output() { return filled(0, 0); }

  /// Fills an output with NaN, which is not equal to anything.
  void forget(const Tensor& out) const {
    for (int r = 0; r < shape_[0]; ++r)
      for (int t = 0; t < shape_[1]; ++t) std::fill_n(out.at(r).at(t).data(), shape_[2], NAN);
  }

  bool same(const Tensor& a, const Tensor& b) const {
    for (int r = 0; r < shape_[0]; ++r)
      for (int t = 0; t < shape_[1]; ++t)
        if (const float* row = a.at(r).at(t).data();
            !std::equal(row, row + shape_[2], b.at(r).at(t).data()))
          return false;
    return true;
  }

 private:
  size_t bytes() const { return sizeof(float) * shape_[0] * shape_[1] * (shape_[2] + shift_); }

  std::vector<int> shape_;
  int shift_;
  std::vector<Arena> memory_;
};

// Kernels write arrays larger than the caches with streaming stores, if rows are aligned. The
// results must equal those of each row alone, which is small, bit for bit. (All rows together have
// more elements than any value of the kernels' stream_from; one row has fewer.)
TEST(Scan, LargeArraysMatchSeparateRows) {
  constexpr int kRows = 9, kElements = 15 << 16;  // kElements: per row
  for (const auto& [columns, layout] :
       {std::pair(64, kDense), std::pair(128, kDense), std::pair(128, kStrided)}) {
    LargeTensors tensors({kRows, kElements / columns, columns}, layout);
    const Tensor x = tensors.filled(0.999f, 1.001f), y = tensors.filled(-1, 1),
                 dy = tensors.filled(-1, 1);
    const std::array together{tensors.output(), tensors.output()},
        apart{tensors.output(), tensors.output()};
    Random random;
    const GuardedTensor h0 = random.input({kRows, columns}), dh0 = output({kRows, columns});
    const auto check = [&](const std::string& op, const std::string& pass, int outputs, auto scan) {
      for_each_variant(op, pass, [&] {
        for (int i = 0; i < outputs; ++i) tensors.forget(together[i]), tensors.forget(apart[i]);
        scan(together, 0, kRows);
        for (int row = 0; row < kRows; ++row) scan(apart, row, row + 1);
        for (int i = 0; i < outputs; ++i)
          EXPECT_TRUE(tensors.same(together[i], apart[i]))
              << current_variant_string() << ", " << columns << " columns";
      });
    };
    using Outputs = std::array<Tensor, 2>;
    check("scan", "forward", 1, [&](const Outputs& out, int begin, int end) {
      ops::scan_forward(x.rows(begin, end), out[0].rows(begin, end));
    });
    check("scan", "backward", 1, [&](const Outputs& out, int begin, int end) {
      ops::scan_backward(dy.rows(begin, end), x.rows(begin, end), y.rows(begin, end),
                         out[0].rows(begin, end));
    });
    check("affine_scan", "forward", 1, [&](const Outputs& out, int begin, int end) {
      ops::affine_scan_forward(x.rows(begin, end), y.rows(begin, end), h0.view().rows(begin, end),
                               out[0].rows(begin, end));
    });
    check("affine_scan", "backward", 2, [&](const Outputs& out, int begin, int end) {
      ops::affine_scan_backward(dy.rows(begin, end), x.rows(begin, end), y.rows(begin, end),
                                h0.view().rows(begin, end), out[0].rows(begin, end),
                                out[1].rows(begin, end), dh0.view().rows(begin, end));
    });
  }
}

TEST(AffineScan, WrongShapes) {
  const GuardedTensor x = output({2, 5, 3}), h0 = output({2, 3}), wrong = output({2, 4});
  expect_error([&] { ops::affine_scan_forward(x, x, wrong, x); }, {"affine_scan"});
  expect_error([&] { ops::affine_scan_forward(x, output({2, 5, 4}), h0, x); }, {"affine_scan"});
  expect_error([&] { ops::affine_scan_backward(x, x, x, h0, x, x, wrong); }, {"affine_scan"});
}

}  // namespace
}  // namespace mmrec
