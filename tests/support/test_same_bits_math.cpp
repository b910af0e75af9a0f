#include "support/same_bits_math.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numbers>
#include <random>
#include <vector>

namespace mmrec::same_bits {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// Distance in units in the last place of a double.
double ulps(double value, long double exact) {
  const double near = std::abs(static_cast<double>(exact));
  const double unit = std::nextafter(near, kInfinity) - near;
  return static_cast<double>(std::abs(value - exact)) / unit;
}

std::vector<double> numbers_between(double low, double high) {
  std::mt19937_64 random(1);
  std::vector<double> numbers;
  for (int i = 0; i < 20'000; ++i)
    numbers.push_back(low + (high - low) * static_cast<double>(random() >> 11) * 0x1p-53);
  return numbers;
}

// The error that these functions may have disappears in the rounding to float.
constexpr double kMost = 2.5;

TEST(SameBitsMath, Log) {
  for (const double exponent : numbers_between(-1022, 1023)) {
    const double x = std::exp2(exponent);
    ASSERT_LE(ulps(log(x), std::log(static_cast<long double>(x))), kMost) << x;
  }
  for (const double x : numbers_between(0.3, 3))
    ASSERT_LE(ulps(log(x), std::log(static_cast<long double>(x))), kMost) << x;
  EXPECT_EQ(log(1), 0);
}

TEST(SameBitsMath, Exp) {
  for (const auto& [low, high] : {std::pair(-708., 709.75), std::pair(-2., 2.)})
    for (const double x : numbers_between(low, high))
      ASSERT_LE(ulps(exp(x), std::exp(static_cast<long double>(x))), kMost) << x;
  for (const double number : numbers_between(-87, 88)) {
    const float x = static_cast<float>(number);
    ASSERT_NEAR(exp(x) / std::exp(static_cast<double>(x)), 1, 0x1.01p-24) << x;
  }
  EXPECT_EQ(exp(0.), 1);
  EXPECT_EQ(exp(-709.), 0);
  EXPECT_EQ(exp(-kInfinity), 0);
  EXPECT_EQ(exp(710.), kInfinity);
  EXPECT_EQ(exp(kInfinity), kInfinity);
  EXPECT_TRUE(std::isnan(exp(std::numeric_limits<double>::quiet_NaN())));
}

TEST(SameBitsMath, SineAndCosine) {
  for (const auto& [low, high] : {std::pair(-7., 7.), std::pair(-1e6, 1e6)})
    for (const double x : numbers_between(low, high)) {
      const auto [sine, cosine] = sine_and_cosine(x);
      // near zero of a large angle the error is relative to the angle's
      const double slack = kMost * 0x1p-52;
      ASSERT_NEAR(sine, static_cast<double>(std::sin(static_cast<long double>(x))), slack) << x;
      ASSERT_NEAR(cosine, static_cast<double>(std::cos(static_cast<long double>(x))), slack) << x;
    }
  for (const double quarters : {-4, -3, -2, -1, 1, 2, 3, 4}) {
    // as near to a zero as a float can be
    const double x = static_cast<float>(quarters * std::numbers::pi / 2);
    const auto [sine, cosine] = sine_and_cosine(x);
    EXPECT_LE(ulps(sine, std::sin(static_cast<long double>(x))), kMost) << x;
    EXPECT_LE(ulps(cosine, std::cos(static_cast<long double>(x))), kMost) << x;
  }
  EXPECT_EQ(sine_and_cosine(0).sine, 0);
  EXPECT_EQ(sine_and_cosine(0).cosine, 1);
}

TEST(SameBitsMath, Power) {
  EXPECT_EQ(power(0.9, int64_t{0}), 1);
  EXPECT_EQ(power(0.9, int64_t{1}), 0.9);
  EXPECT_EQ(power(2, int64_t{10}), 1024);
  EXPECT_EQ(power(3, int64_t{33}), 5559060566555523);
  for (const int64_t exponent : {2, 7, 100, 1000, 30'000})
    EXPECT_NEAR(power(0.999, exponent) / std::pow(0.999, exponent), 1, 1e-15 * exponent);
  EXPECT_NEAR(power(6.5, -0.217), std::pow(6.5, -0.217), 1e-15);
  EXPECT_NEAR(power(1e-4, 0.5), 1e-2, 1e-17);
}

// On every CPU, with every compiler.
TEST(SameBitsMath, Bits) {
  EXPECT_EQ(log(0.3), -0x1.34378fcbda721p+0);
  EXPECT_EQ(log(1e300), 0x1.5963447f87fb5p+9);
  EXPECT_EQ(log(0x1.fffffep-1), -0x1.0000008000005p-24);
  EXPECT_EQ(exp(0.3), 0x1.599058c8c1a96p+0);
  EXPECT_EQ(exp(-700.5), 0x1.4ff475c68ca02p-1011);
  EXPECT_EQ(exp(-2.625f), 0x1.28b698p-4f);
  EXPECT_EQ(exp(-2.625), 0x1.28b6973646d82p-4);
  EXPECT_EQ(sine_and_cosine(3.1f).sine, 0x1.54a12b515e40fp-5);
  EXPECT_EQ(sine_and_cosine(3.1f).cosine, -0x1.ff8ea4535a46ep-1);
  EXPECT_EQ(sine_and_cosine(6.25f).sine, -0x1.0fcddc3f512bcp-5);
  EXPECT_EQ(power(0.999, int64_t{1234}), 0x1.29edc3254effcp-2);
  EXPECT_EQ(power(6.5, 0.32), 0x1.d1fc3e398e90ap+0);
  uint64_t all = 0;
  for (const double x : numbers_between(0.01, 6))
    for (const double y : {log(x), exp(x), sine_and_cosine(x).sine, sine_and_cosine(x).cosine})
      all = all * 31 + std::bit_cast<uint64_t>(y);
  EXPECT_EQ(all, 17892708922581008827u);
}

}  // namespace
}  // namespace mmrec::same_bits
