#include "train/run/learning_rate.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/common/expect_error.h"

namespace mmrec {
namespace {

using test::expect_error;

TEST(LearningRate, KnownValuesOfTheDocumentedRun) {
  const LearningRate rate{.peak = 3e-4, .minimum = 3e-5, .warmup = 100, .steps = 378};
  EXPECT_DOUBLE_EQ(rate.at(1), 3e-5);
  EXPECT_DOUBLE_EQ(rate.at(51), 3e-4 * 0.55);
  EXPECT_DOUBLE_EQ(rate.at(101), 3e-4);
  EXPECT_NEAR(rate.at(101 + 277 / 2), (3e-4 + 3e-5) / 2, 1e-6);
  EXPECT_DOUBLE_EQ(rate.at(378), 3e-5);
  EXPECT_DOUBLE_EQ(rate.at(1000), 3e-5);
  const double sixth = 3e-5 + 2.7e-4 * (1 + std::sqrt(0.75)) / 2;  // cos(pi / 6)
  EXPECT_NEAR((LearningRate{.peak = 3e-4, .minimum = 3e-5, .warmup = 0, .steps = 601}.at(101)),
              sixth, 1e-12);
}

TEST(LearningRate, RisesThenFalls) {
  const LearningRate rate{.peak = 1e-3, .minimum = 0, .warmup = 10, .steps = 50};
  for (int step = 1; step <= 10; ++step) EXPECT_LT(rate.at(step), rate.at(step + 1)) << step;
  for (int step = 11; step < 50; ++step) EXPECT_GT(rate.at(step), rate.at(step + 1)) << step;
  EXPECT_DOUBLE_EQ(rate.at(50), 0);
}

TEST(LearningRate, ShortRuns) {
  EXPECT_DOUBLE_EQ((LearningRate{.peak = 1, .minimum = 0.1, .warmup = 0, .steps = 1}.at(1)), 1);
  EXPECT_DOUBLE_EQ((LearningRate{.peak = 1, .minimum = 0.1, .warmup = 0, .steps = 2}.at(2)), 0.1);
  const LearningRate never_warm{.peak = 1, .minimum = 0.1, .warmup = 100, .steps = 10};
  EXPECT_DOUBLE_EQ(never_warm.at(10), 0.1 + 0.9 * 0.09);
}

TEST(LearningRate, WarnsOfAWarmUpThatFillsTheRun) {
  const LearningRate fills{.peak = 1e-3, .minimum = 1e-4, .warmup = 100, .steps = 60};
  for (const char* part :
       {"100 steps fills the run of 60", "ends at 6.31e-04", "peak of 1.00e-03", "--warmup"})
    EXPECT_NE(fills.warning().find(part), std::string::npos)
        << part << " is not in: " << fills.warning();
  EXPECT_NE((LearningRate{.peak = 1, .minimum = 0, .warmup = 60, .steps = 60}.warning()), "")
      << "step 61 would have the peak";
  EXPECT_EQ((LearningRate{.peak = 1, .minimum = 0, .warmup = 59, .steps = 60}.warning()), "");
  EXPECT_EQ(fills.describe(), "warm-up of 100 steps to 1.00e-03, then down to 1.00e-04");
  EXPECT_EQ((LearningRate{.peak = 1e-3, .minimum = 1e-4, .warmup = 0, .steps = 60}.describe()),
            "no warm-up, from 1.00e-03 down to 1.00e-04");
}

TEST(LearningRate, MinimumIsRelativeOrAbsolute) {
  EXPECT_DOUBLE_EQ(parse_minimum_rate("0.1x", 3e-4), 3e-5);
  EXPECT_DOUBLE_EQ(parse_minimum_rate("1x", 3e-4), 3e-4);
  EXPECT_DOUBLE_EQ(parse_minimum_rate("2e-5", 3e-4), 2e-5);
  EXPECT_DOUBLE_EQ(parse_minimum_rate("0", 3e-4), 0);
  EXPECT_DOUBLE_EQ(parse_minimum_rate("1e-3", std::nullopt), 1e-3);
  for (const char* text : {"2x", "abc", "2", "-1", "1e300"})
    expect_error<UsageError>([&] { parse_minimum_rate(text, std::nullopt); },
                             {fmt::format("'{}'", text), "0.1x"});
  for (const char* text :
       {"", "x", "0.1y", "0.1 x", "1.5x", "-0.1x", "-1e-5", "1e-3", "nan", "nanx", "inf"})
    expect_error<UsageError>([&] { parse_minimum_rate(text, 3e-4); },
                             {fmt::format("'{}'", text), "0.1x"});
}

// As a double, 5e-3f is less than 5e-3 and 3e-4f has more digits than somebody has written.
TEST(LearningRate, MinimumIsComparedAsAFloat) {
  EXPECT_EQ(parse_minimum_rate("5e-3", 5e-3f), 5e-3f);
  expect_error<UsageError>([&] { parse_minimum_rate("1e-3", 3e-4f); }, {"the peak of 0.0003"});
  expect_error<UsageError>([&] { parse_minimum_rate("5.00001e-3", 5e-3f); }, {"5.00001e-3"});
}

}  // namespace
}  // namespace mmrec
