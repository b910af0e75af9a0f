#include "runtime/ops/weight.h"

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

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

// ------------------------------------------------------------------------------------------- int8

/// Returns the scale of a row's int8 weights: the least float of 16 bits that is enough.
double scale_of(const std::vector<double>& row) {
  double largest = 0;
  for (const double weight : row) largest = std::max(largest, std::abs(weight));
  const double least = static_cast<float>(static_cast<float>(largest) / 127.f);
  int exponent;
  const double mantissa = std::frexp(least, &exponent);
  return std::ldexp(std::ceil(std::ldexp(mantissa, 16)), exponent - 16);
}

/// The rows of a weight, times a norm.
std::vector<std::vector<double>> rows_of(const Tensor& weight, const Tensor& norm) {
  std::vector<std::vector<double>> rows(weight.size(0));
  for (int n = 0; n < weight.size(0); ++n)
    for (int k = 0; k < weight.size(1); ++k) {
      const float own = weight.at(n).data()[k];
      rows[n].push_back(norm.rank() == 0 ? own : norm.data()[k] * own);
    }
  return rows;
}

/// A weight, its norm, and memory for its int8 copy.
struct Int8Weight {
  Int8Weight(int out, int in, bool with_norm = false)
      : matrix(inout(random.input({out, in}).array())),
        norm(inout(random.input({in}, 0.5f, 2).array())),
        memory(output(
            {ops::weight_panels(out), ops::packed_rows(in, Precision::kInt8), kWeightPanel})) {
    weight = matrix.view();
    weight.packed = memory;
    weight.factors = Precision::kInt8;
    if (with_norm) norm_or_none = norm.view();
  }
  Random random;
  GuardedTensor matrix, norm, memory;
  ops::Weight weight;
  Tensor norm_or_none;
};

TEST(Int8, RoundsToTheNearestMultipleOfTheRowsScale) {
  for (const bool with_norm : {false, true}) {
    Int8Weight w(kOut, 37, with_norm);
    w.matrix[3] = 5;  // a row with an outlier has a larger scale, the others do not
    const auto before = rows_of(w.weight, w.norm_or_none);
    ops::round_to_int8(w.weight, w.norm_or_none);
    const auto after = rows_of(w.weight, w.norm_or_none);
    for (size_t n = 0; n < before.size(); ++n) {
      const double scale = scale_of(before[n]);
      for (size_t k = 0; k < before[n].size(); ++k) {
        const double number = after[n][k] / scale;
        EXPECT_EQ(number, std::round(number)) << "row " << n << ", input " << k;
        EXPECT_LE(std::abs(number), 127);
        EXPECT_LE(std::abs(after[n][k] - before[n][k]), scale * (0.5 + 1e-6));
      }
    }
    for (int k = 0; with_norm && k < 37; ++k) EXPECT_EQ(w.norm[k], 1);
    const std::vector<uint32_t> once = w.matrix.bits();
    ops::round_to_int8(w.weight, w.norm_or_none);
    EXPECT_EQ(w.matrix.bits(), once) << "rounded again, the weight changes";
  }
}

TEST(Int8, PackedHasTheValuesOfTheRoundedWeight) {
  for (const bool with_norm : {false, true})
    for (const int in : {1, 4, 37}) {
      Int8Weight w(kOut, in, with_norm);
      ops::pack(w.weight, w.norm_or_none);
      ops::round_to_int8(w.weight, w.norm_or_none);
      const ByteTensor bytes = w.weight.packed_bytes();
      for (int n = 0; n < kPanels * kWeightPanel; ++n) {
        const auto byte = [&](int row) {
          return bytes.at(n / kWeightPanel).at(row).data()[n % kWeightPanel];
        };
        uint32_t scale = 0;
        for (int i = 0; i < kInt8ScaleRows; ++i)
          scale |= uint32_t{static_cast<uint8_t>(byte(i))} << (8 * i);
        for (int k = 0; k < in; ++k)
          EXPECT_EQ(std::bit_cast<float>(scale) * static_cast<float>(byte(kInt8ScaleRows + k)),
                    n < kOut ? w.matrix[n * in + k] : 0)
              << "output " << n << ", input " << k;
      }
    }
}

TEST(Int8, RowsOfZerosAndRowsThatAreNotFinite) {
  Int8Weight w(3, 5);
  for (int k = 0; k < 5; ++k) w.matrix[k] = 0;
  w.matrix[5 + 2] = std::numeric_limits<float>::infinity();
  const float kept = w.matrix[10];
  ops::round_to_int8(w.weight);
  for (int k = 0; k < 5; ++k) {
    EXPECT_EQ(w.matrix[k], 0);
    EXPECT_TRUE(std::isnan(w.matrix[5 + k]));
  }
  EXPECT_NEAR(w.matrix[10], kept, 0.01);
}

/// What an output of a layer may differ by, from that of the weights as they were.
TEST(Int8, AProductsErrorIsThatOfItsWeights) {
  constexpr int kRows = 3, kInputs = 300;
  Int8Weight w(kOut, kInputs);
  const GuardedTensor x = w.random.input({kRows, kInputs}), y = output({kRows, kOut});
  ops::pack(w.weight);
  {
    const ScopedPrecision scoped(Precision::kInt8);
    ops::linear(x, w.weight, y);
  }
  const auto rows = rows_of(w.weight, {});
  double largest = 0;
  for (int m = 0; m < kRows; ++m)
    for (int n = 0; n < kOut; ++n) {
      double want = 0, inputs = 0;
      for (int k = 0; k < kInputs; ++k) {
        want += x[m * kInputs + k] * rows[n][k];
        inputs += std::abs(x[m * kInputs + k]);
      }
      const double error = std::abs(y[m * kOut + n] - want);
      EXPECT_LE(error, (0.5 + 1e-3) * scale_of(rows[n]) * inputs) << m << " " << n;
      largest = std::max(largest, error);
    }
  EXPECT_GT(largest, 1e-3) << "the weights were not rounded";
}

TEST(Int8, WeightsForKernelsOfAnotherPrecisionAreRefused) {
  Int8Weight w(kOut, kIn);
  const GuardedTensor x = w.random.input({1, kIn}), y = output({1, kOut});
  ops::pack(w.weight);
  expect_error([&] { ops::linear(x, w.weight, y); }, {"gemm.packed", "int8", "f32"});
}

}  // namespace
}  // namespace mmrec
