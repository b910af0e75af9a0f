#include "train/run/training_step.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cmath>
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
  TrainingStep step(int batch, int accumulate, float dropout = 0, int streams = 0,
                    bool recompute = false) {
    return TrainingStep(config_, kVocabulary, parameters_, windows_,
                        {.batch = batch,
                         .accumulate = accumulate,
                         .dropout = dropout,
                         .seed = 7,
                         .recompute = recompute,
                         .streams = streams});
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

/// Two windows of T with the state handed on have the loss of one window of 2T.
TEST_F(TrainingStepTest, CarriedStatesContinueEachRowsText) {
  constexpr int kRows = 6;
  config_.memory = "learned";  // the same in both steps
  parameters_ = Parameters(config_);
  parameters_.initialise(1);
  const std::vector<int> first = {0, 2, 4, 6, 8, 10}, second = {1, 3, 5, 7, 9, 11},
                         others = {12, 13, 14, 15, 16, 17};
  const std::vector<uint8_t> all(kRows, 1), none(kRows, 0), third = {0, 0, 1, 0, 0, 0};
  const auto sum_of = [&](int length, const std::vector<int>& which) {
    const WindowSet windows(random_tokens(24 * T + 1), length, "the text");
    TrainingStep fresh(
        config_, kVocabulary, parameters_, windows,
        {.batch = static_cast<int>(which.size()), .accumulate = 1, .dropout = 0, .seed = 7});
    return fresh.run(1, {.epoch = 1, .windows = which}).loss;
  };
  const double whole = sum_of(2 * T, {0, 1, 2, 3, 4, 5}), fresh = sum_of(T, second);
  for (const int accumulate : {1, 2, 6}) {
    SCOPED_TRACE(accumulate);
    TrainingStep step = this->step(kRows / accumulate, accumulate, 0, 2 * kRows);
    const Batch begin{.epoch = 1, .windows = first, .begins = all, .first_stream = kRows},
        other{.epoch = 1, .windows = others, .begins = all, .first_stream = 0};
    const double begun = step.run(1, begin).loss;
    step.keep_states(begin);
    step.run(2, other);
    step.keep_states(other);
    const auto go_on = [&](const std::vector<uint8_t>& begins) {
      return step.run(3, {.epoch = 1, .windows = second, .begins = begins, .first_stream = kRows})
          .loss;
    };
    EXPECT_NEAR(begun + go_on(none), whole, 1e-6 * whole);
    EXPECT_NEAR(begun + go_on(none), whole, 1e-6 * whole)
        << "not kept, the step is as if not taken";
    EXPECT_NEAR(go_on(all), fresh, 1e-6 * fresh);
    const double row = sum_of(T, {5}), row_in_pair = sum_of(2 * T, {2}) - sum_of(T, {4});
    ASSERT_GT(std::abs(row - row_in_pair), 1e-4 * row) << "the state makes a difference";
    EXPECT_NEAR(begun + go_on(third), whole - row_in_pair + row, 1e-6 * whole);
  }
}

/// The gradient is that of the second window alone, its first state being a constant: what finite
/// differences of the window's loss say.
TEST_F(TrainingStepTest, GradientsEndAtTheWindow) {
  const std::vector<int> first = {0, 2}, second = {1, 3};
  const std::vector<uint8_t> all = {1, 1}, none = {0, 0};
  TrainingStep step = this->step(2, 1, 0, 2);
  const Batch begun{.epoch = 1, .windows = first, .begins = all};
  step.run(1, begun);
  step.keep_states(begun);
  const auto loss = [&] {
    return step.run(2, {.epoch = 1, .windows = second, .begins = none}).mean_loss();
  };
  loss();
  const std::vector<float> gradients = values(parameters_.gradients());
  const Tensor weight = parameters_.weight("blocks.0.W_g.bias"),
               gradient = parameters_.gradient("blocks.0.W_g.bias");
  for (int i = 0; i < weight.size(0); i += 7) {
    constexpr float kStep = 1e-2f;
    const float before = weight.data()[i];
    const float want = gradients[gradient.data() + i - parameters_.gradients().data()];
    weight.data()[i] = before + kStep;
    const double above = loss();
    weight.data()[i] = before - kStep;
    const double below = loss();
    weight.data()[i] = before;
    EXPECT_NEAR((above - below) / (2 * kStep), want, 2e-2 * std::abs(want) + 2e-5) << i;
  }
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
    TrainingStep step = this->step(4, 2, 0, 0, recompute);
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
