#include "train/run/training_step.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <numeric>
#include <thread>

#include "tests/common/small_runs.h"

namespace mmrec {
namespace {

using test::small_config;
using test::values;

constexpr int T = 16, kVocabulary = 19;

class TrainingStepTest : public testing::Test {
 protected:
  TrainingStepTest() : windows_(random_tokens(24 * T + 1), T, "the text") {
    parameters_.initialise(1);
  }

  static std::vector<int32_t> random_tokens(size_t count) {
    Random random;
    std::vector<int32_t> tokens;
    while (tokens.size() < count) tokens.push_back(random.below(kVocabulary));
    return tokens;
  }
  TrainingStep step(int batch, int accumulate, float dropout = 0, bool recompute = false) {
    return TrainingStep(config_, kVocabulary, parameters_, windows_,
                        {.batch = batch,
                         .accumulate = accumulate,
                         .dropout = dropout,
                         .seed = 7,
                         .recompute = recompute});
  }
  /// Returns the gradients of step number 5.
  std::vector<float> gradients(TrainingStep step, const std::vector<int>& windows) {
    last_ = step.run(5, {.epoch = 1, .windows = windows});
    return values(parameters_.gradients());
  }

  Config config_ = small_config(kVocabulary);
  Parameters parameters_{config_};
  WindowSet windows_;
  LossSum last_;
};

TEST_F(TrainingStepTest, AccumulatedBatchesAreTheLargerBatch) {
  std::vector<int> windows(24);
  std::iota(windows.begin(), windows.end(), 0);
  const std::vector<float> whole = gradients(step(24, 1), windows);
  const LossSum want = last_;
  for (const int accumulate : {2, 3, 8, 24}) {
    SCOPED_TRACE(accumulate);
    const std::vector<float> parts = gradients(step(24 / accumulate, accumulate), windows);
    EXPECT_EQ(last_.tokens, want.tokens);
    EXPECT_EQ(last_.correct, want.correct);
    EXPECT_NEAR(last_.loss, want.loss, 1e-6 * want.loss);
    for (const Parameter& parameter : parameters_.table()) {
      float largest = 0, difference = 0;
      for (int64_t i = parameter.offset; i < parameter.offset + parameter.count; ++i) {
        largest = std::max(largest, std::abs(whole[i]));
        difference = std::max(difference, std::abs(parts[i] - whole[i]));
      }
      EXPECT_LE(difference, 1e-5f * largest) << parameter.name;
    }
  }
}

TEST_F(TrainingStepTest, EachBatchHasDropoutMasksOfItsOwn) {
  const std::vector<float> once = gradients(step(1, 1), {3}), twice = gradients(step(1, 2), {3, 3});
  float largest = 0, difference = 0;
  for (size_t i = 0; i < once.size(); ++i) {
    largest = std::max(largest, std::abs(once[i]));
    difference = std::max(difference, std::abs(twice[i] - once[i]));
  }
  EXPECT_LE(difference, 1e-6f * largest)
      << "without dropout the mean of two equal gradients is that gradient, but for rounding";
  const std::vector<float> dropped = gradients(step(1, 1, 0.3f), {3}),
                           dropped_twice = gradients(step(1, 2, 0.3f), {3, 3});
  EXPECT_NE(dropped_twice, dropped);
  EXPECT_EQ(gradients(step(1, 2, 0.3f), {3, 3}), dropped_twice);
}

TEST_F(TrainingStepTest, TheNumberOfThreadsDoesNotChangeABit) {
  std::vector<int> windows(24);
  std::iota(windows.begin(), windows.end(), 0);
  const ScopedThreads one(1);
  const std::vector<float> want = gradients(step(6, 4, 0.1f), windows);
  const ScopedThreads three(3);
  EXPECT_EQ(gradients(step(6, 4, 0.1f), windows), want);
}

TEST_F(TrainingStepTest, AbandonedStepLeavesNoTrace) {
  std::vector<int> windows(24);
  std::iota(windows.begin(), windows.end(), 0);
  const ScopedThreads two(2);
  TrainingStep step = this->step(6, 4, 0.1f);
  const Batch batch{.epoch = 1, .windows = windows};
  const auto begin = std::chrono::steady_clock::now();
  step.run(5, batch);
  const auto whole = std::chrono::steady_clock::now() - begin;
  const std::vector<float> want = values(parameters_.gradients()),
                           weights = values(parameters_.weights());
  int given_up = 0;
  for (int i = 0; i < 20; ++i) {  // at moments from its beginning to its end
    std::atomic<int> asked{0};
    std::thread asks([&] {
      std::this_thread::sleep_for(whole * i / 20);
      asked = 1;
    });
    try {
      const Interruptible giving_up(asked);
      step.run(6, batch);
    } catch (const Interrupted&) {
      ++given_up;
    }
    asks.join();
    step.run(5, batch);
    EXPECT_EQ(values(parameters_.gradients()), want) << i;
    EXPECT_EQ(values(parameters_.weights()), weights) << i;
  }
  EXPECT_GT(given_up, 0);
}

TEST_F(TrainingStepTest, NamesTheFirstNonFiniteValue) {
  const auto first_after = [&](const char* parameter, int element, float value,
                               bool recompute = false) {
    parameters_.initialise(1);
    parameters_.weight(parameter).data()[element] = value;
    TrainingStep step = this->step(4, 2, 0, recompute);
    const std::vector<int> windows = {0, 1, 2, 3, 4, 5, 6, 7};
    const LossSum sum = step.run(1, {.epoch = 1, .windows = windows});
    EXPECT_FALSE(std::isfinite(sum.loss)) << parameter;
    return step.first_non_finite();
  };
  EXPECT_EQ(first_after("blocks.1.ffn.0.bias", 3, std::nanf("")), "the weight blocks.1.ffn.0.bias");
  EXPECT_EQ(first_after("blocks.0.ffn.3.bias", 3, -INFINITY), "the weight blocks.0.ffn.3.bias");
  const int z = 3 * config_.dim;
  EXPECT_EQ(first_after("blocks.1.W_fused.bias", z, 3e38f), "blocks.1: the state h of token 2")
      << "it sums up z";
  EXPECT_EQ(first_after("blocks.0.W_fused.bias", z, 3e38f, true),
            "blocks.0: the state h of token 2");
}

}  // namespace
}  // namespace mmrec
