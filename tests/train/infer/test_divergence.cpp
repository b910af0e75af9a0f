#include "train/infer/divergence.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "tests/common/kernel_test.h"
#include "tests/common/small_config.h"

namespace mmrec {
namespace {

constexpr int kVocabulary = 19;
constexpr uint64_t kSeed = 9;

TEST(Divergence, OfOnePrediction) {
  // probabilities 1/2, 1/2 and 1/4, 3/4; logits are sure up to a constant
  const std::vector<float> even = {1, 1}, odd = {-2, std::log(3.f) - 2};
  const Divergence d = divergence(even, odd);
  EXPECT_NEAR(d.nats, 0.5 * std::log(0.5 / 0.25) + 0.5 * std::log(0.5 / 0.75), 1e-6);
  EXPECT_EQ(d.agree, 0);  // the first of equal ones is the most probable
  EXPECT_EQ(d.tokens, 1);
  const Divergence other_way = divergence(odd, even);
  EXPECT_NEAR(other_way.nats, 0.25 * std::log(0.25 / 0.5) + 0.75 * std::log(0.75 / 0.5), 1e-6);
  const std::vector<float> large = {3, 200, -1000, 7};
  EXPECT_EQ(divergence(large, large).nats, 0);
  EXPECT_EQ(divergence(large, large).agree, 1);
  const std::vector<float> shifted = {103, 300, -900, 107};
  EXPECT_NEAR(divergence(large, shifted).nats, 0, 1e-12);
}

class DivergenceOfATextTest : public testing::Test {
 protected:
  DivergenceOfATextTest() : exact_(config_), rounded_(config_) {
    for (Parameters* parameters : {&exact_, &rounded_}) {
      parameters->initialise(1);
      const Tensor embedding = parameters->weight("embedding.weight");
      for (int64_t i = 0; i < embedding.count(); ++i) embedding.data()[i] *= 3;
    }
    round_weights(config_, rounded_, Precision::kInt8);
    Random random;
    for (int i = 0; i < 181; ++i) text_.push_back(random.below(kVocabulary));
  }

  Divergence of_text(int window) {
    return divergence(config_, kVocabulary, kSeed, {exact_, Precision::kFloat32},
                      {rounded_, Precision::kInt8}, text_, window);
  }

  /// The same by one call of a model for a whole window.
  Divergence of_whole_windows(int window) {
    Divergence sum;
    for (int begin = 0; begin + window < static_cast<int>(text_.size()); begin += window) {
      std::vector<Tensor> logits;
      std::vector<std::vector<float>> memory;
      for (Parameters* parameters : {&exact_, &rounded_}) {
        Model model(config_, kVocabulary, *parameters, window, 1, Model::Mode::kInference, kSeed);
        memory.emplace_back(window * kVocabulary);
        logits.emplace_back(memory.back().data(), std::vector<int>{window, 1, kVocabulary});
        model.logits(IntTensor(text_.data() + begin, {window, 1}), logits.back());
      }
      for (int t = 0; t < window; ++t)
        sum += divergence(contiguous_span(logits[0].at(t)), contiguous_span(logits[1].at(t)));
    }
    return sum;
  }

  ScopedThreads one_thread_{1};
  Config config_ = test::small_config(kVocabulary);
  Parameters exact_, rounded_;
  std::vector<int32_t> text_;
};

TEST_F(DivergenceOfATextTest, OfAModelFromItselfIsZero) {
  const ComparedModel model{exact_, Precision::kFloat32};
  const Divergence d = divergence(config_, kVocabulary, kSeed, model, model, text_, 60);
  EXPECT_EQ(d.nats, 0);
  EXPECT_EQ(d.agreement(), 1);
  EXPECT_EQ(d.tokens, 180);
}

// A window is read in pieces, whose last one is shorter.
TEST_F(DivergenceOfATextTest, IsTheSumOfItsTokens) {
  for (const int window : {1, 30, 64, 90, 180}) {
    SCOPED_TRACE(window);
    const Divergence got = of_text(window), want = of_whole_windows(window);
    EXPECT_EQ(got.tokens, 180 / window * window);
    EXPECT_EQ(got.tokens, want.tokens);
    EXPECT_EQ(got.agree, want.agree);
    EXPECT_NEAR(got.nats, want.nats, 1e-3 * want.nats);
    EXPECT_GT(got.mean(), 1e-8);
    EXPECT_LT(got.mean(), 1e-2);
  }
}

TEST_F(DivergenceOfATextTest, IsTheSameWithAnyNumberOfThreads) {
  const double want = of_text(90).nats;
  const ScopedThreads threads(3);
  EXPECT_EQ(of_text(90).nats, want);
}

}  // namespace
}  // namespace mmrec
