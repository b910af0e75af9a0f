#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "tests/common/expect_error.h"
#include "tests/common/growing_state.h"
#include "tests/common/kernel_test.h"
#include "tests/common/small_config.h"
#include "train/infer/evaluation.h"
#include "train/infer/text_generator.h"

namespace mmrec {
namespace {

constexpr int kVocabulary = 19;
constexpr uint64_t kSeed = 9;

class StreamLoss : public testing::Test {
 protected:
  StreamLoss() : parameters_(config_) {
    parameters_.initialise(1);
    const Tensor embedding = parameters_.weight("embedding.weight");
    for (int64_t i = 0; i < embedding.count(); ++i) embedding.data()[i] *= 3;
  }

  static std::vector<int32_t> text(int length) {
    Random random;
    std::vector<int32_t> tokens(length);
    for (int32_t& token : tokens) token = random.below(kVocabulary);
    return tokens;
  }
  LossSum stream(const std::vector<int32_t>& tokens, int T) {
    return stream_loss(config_, kVocabulary, parameters_, kSeed, tokens, T);
  }
  /// Each window starts from a zero state.
  LossSum windows(const std::vector<int32_t>& tokens, int T) {
    return Evaluation(config_, kVocabulary, parameters_, kSeed, WindowSet(tokens, T, "the text"))
        .run();
  }

  ScopedThreads one_thread_{1};
  Config config_ = test::small_config(kVocabulary);
  Parameters parameters_;
};

TEST_F(StreamLoss, EqualsOneWindowOverTheWholeText) {
  for (const int length : {2, 3, 33, 100}) {
    const std::vector<int32_t> tokens = text(length);
    const LossSum want = windows(tokens, length - 1);
    for (const int T : {1, 7, 32, 64, 1000}) {
      SCOPED_TRACE(fmt::format("{} tokens, {} at once", length, T));
      const LossSum sum = stream(tokens, T);
      EXPECT_EQ(sum.tokens, length - 1);
      EXPECT_NEAR(sum.loss, want.loss, 1e-5 * want.loss);
      EXPECT_EQ(sum.correct, want.correct);
    }
  }
  const std::vector<int32_t> tokens = text(129);
  EXPECT_GT(std::abs(stream(tokens, 32).loss - windows(tokens, 32).loss), 1e-3)
      << "the state is not carried";
}

TEST_F(StreamLoss, OverflowOfTheStateIsReportedWithItsPosition) {
  config_.max_seq = 512;
  test::let_state_grow(config_, parameters_);
  const std::vector<int32_t> tokens = text(1025);
  Evaluation long_windows(config_, kVocabulary, parameters_, kSeed,
                          WindowSet(tokens, 512, "the text"), 0, 64);
  EXPECT_FALSE(std::isfinite(long_windows.run().loss));
  const int finite = long_windows.finite_tokens();
  EXPECT_GT(finite, 64);
  EXPECT_LT(finite, 512);
  Evaluation short_windows(config_, kVocabulary, parameters_, kSeed,
                           WindowSet(tokens, 64, "the text"));
  EXPECT_TRUE(std::isfinite(short_windows.run().loss));
  EXPECT_EQ(short_windows.finite_tokens(), 64);
  EXPECT_TRUE(std::isfinite(long_windows.mean_loss_in_pieces()));

  const LossSum sum = stream(tokens, 32);
  EXPECT_FALSE(std::isfinite(sum.loss));
  EXPECT_NEAR(sum.tokens, finite, 2) << "of the first window alone";

  TextGenerator generator(config_, kVocabulary, parameters_, kSeed, {.seed = 1}, 1, 64);
  generator.read_prompt(std::vector<int32_t>{3});
  const auto read_all = [&] {
    for (const int32_t token : tokens) generator.read(std::span(&token, 1));
  };
  test::expect_error(read_all,
                     {"the state left a float's range after", "the training's windows have 64"});
}

TEST(Overflow, IsExplainedByTheTrainingWindow) {
  for (const int tokens : {64, 93})
    EXPECT_EQ(describe_overflow(tokens, 64),
              fmt::format("the state left a float's range after {} tokens; the training's windows "
                          "have 64, and for so many the model can be used",
                          tokens));
  EXPECT_EQ(describe_overflow(40, 64),
            "the state left a float's range after 40 tokens, within the 64 of the training's "
            "windows: the weights cannot be used");
  EXPECT_EQ(describe_overflow(93, 0), "the state left a float's range after 93 tokens");
  EXPECT_EQ(describe_overflow(0, 64),
            "the loss is not finite from the first token on: the weights cannot be used");
}

TEST_F(StreamLoss, ATextMustPredictSomething) {
  for (const int length : {0, 1})
    test::expect_error<UsageError>([&] { stream(text(length), 8); }, {"at least 2"});
}

}  // namespace
}  // namespace mmrec
