#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "tests/expect_error.h"
#include "tests/kernel_test.h"
#include "train/evaluation.h"

namespace mmrec {
namespace {

constexpr int kVocabulary = 19;
constexpr uint64_t kMemorySeed = 9;

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
  LossSum stream(const std::vector<int32_t>& tokens, int T) { return stream_loss(config_, kVocabulary, parameters_, kMemorySeed, tokens, T); }
  /// From a fresh state in each window.
  LossSum windows(const std::vector<int32_t>& tokens, int T) {
    return Evaluation(config_, kVocabulary, parameters_, kMemorySeed, WindowSet(tokens, T, "the text")).run();
  }

  ScopedThreads one_thread_{1};
  Config config_{.vocab_size = kVocabulary, .dim = 32, .layers = 2, .heads = 2, .max_seq = 256, .mem_slots = 64};
  Parameters parameters_;
};

TEST_F(StreamLoss, IsThatOfOneWindowOverTheWholeText) {
  for (const int length : {2, 3, 33, 100}) {
    const std::vector<int32_t> tokens = text(length);
    const LossSum want = windows(tokens, length - 1);
    for (const int T : {1, 7, 32, 64, 1000}) {
      SCOPED_TRACE(fmt::format("{} tokens, {} at once", length, T));
      const LossSum sum = stream(tokens, T);
      EXPECT_EQ(sum.positions, length - 1);
      EXPECT_NEAR(sum.loss, want.loss, 1e-5 * want.loss);
      EXPECT_EQ(sum.correct, want.correct);
    }
  }
  const std::vector<int32_t> tokens = text(129);
  EXPECT_GT(std::abs(stream(tokens, 32).loss - windows(tokens, 32).loss), 1e-3) << "the state is not carried";
}

TEST_F(StreamLoss, ATextMustPredictSomething) {
  for (const int length : {0, 1}) test::expect_error<UsageError>([&] { stream(text(length), 8); }, {"at least 2"});
}

}  // namespace
}  // namespace mmrec
