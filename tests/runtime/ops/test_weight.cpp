#include "runtime/ops/weight.h"

#include "runtime/ops/gemm.h"
#include "tests/common/kernel_test.h"

namespace mmrec {
namespace {

constexpr int kOut = 21, kIn = 5, kPanels = 2;

/// A weight with memory for its packed copy.
struct Packable {
  explicit Packable(RowLayout layout)
      : matrix(random.input({kOut, kIn}, layout)), packed(output({kPanels, kIn, kWeightPanel})) {
    weight = matrix.view();
    weight.packed = packed;
  }
  Random random;
  GuardedTensor matrix, packed;
  ops::Weight weight;
};

TEST(Weight, PackedInPanelsWithZerosAfterTheLastOutput) {
  for (const RowLayout layout : {kDense, kStrided})
    for (const bool with_norm : {false, true}) {
      Packable p(layout);
      const GuardedTensor norm = p.random.input({kIn});
      ops::pack(p.weight, with_norm ? norm.view() : Tensor());
      for (int panel = 0; panel < kPanels; ++panel)
        for (int k = 0; k < kIn; ++k)
          for (int column = 0; column < kWeightPanel; ++column) {
            const int n = panel * kWeightPanel + column;
            const float factor = with_norm ? norm[k] : 1;
            EXPECT_EQ(p.weight.packed.at(panel).at(k).data()[column],
                      n < kOut ? factor * p.matrix[n * kIn + k] : 0)
                << "output " << n << ", input " << k;
          }
    }
}

TEST(Weight, WrongShapesThrow) {
  Packable p(kDense);
  const GuardedTensor x = p.random.input({3, kIn}), y = output({3, kOut}),
                      small = output({kPanels, kIn - 1, kWeightPanel}), norm = output({kIn + 1});
  expect_error([&] { ops::pack(p.weight, norm); }, {"pack", "norm"});
  ops::Weight wrong = p.weight;
  wrong.packed = small;
  expect_error([&] { ops::pack(wrong); }, {"pack"});
  expect_error([&] { ops::linear(x, wrong, y); }, {"linear", "weight"});
  const ops::Weight plain = p.matrix.view();
  expect_error([&] { ops::pack(plain); }, {"pack", "no memory"});
  expect_error([&] { ops::all_packed("ffn", {&p.weight, &plain}); }, {"ffn", "some", "not"});
}

}  // namespace
}  // namespace mmrec
