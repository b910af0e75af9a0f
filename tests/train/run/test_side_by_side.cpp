#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <thread>
#include <vector>

#include "model/optimizer.h"
#include "runtime/context.h"
#include "runtime/kernel_registry.h"
#include "runtime/profile.h"
#include "tests/common/executor_test.h"
#include "tests/common/small_runs.h"
#include "train/run/training_step.h"

namespace mmrec {
namespace {

struct SideBySide : test::ExecutorTest {};
RUN_ON_EVERY_EXECUTOR(SideBySide);

/// A training of some steps in its own context.
struct Training {
  Config config;
  int vocabulary, T, batch, accumulate;
  float dropout;
  int threads, steps;

  /// Returns the final weights and moments, and the losses.
  std::vector<std::vector<float>> run() const {
    Context context;
    const Context::Use use(context);
    set_num_threads(threads);
    Parameters parameters(config);
    parameters.initialise(3);
    Random random;
    std::vector<int32_t> tokens;
    while (tokens.size() < static_cast<size_t>(64 * T + 1))
      tokens.push_back(random.below(vocabulary));
    const WindowSet windows(tokens, T, "the text");
    TrainingStep step(config, vocabulary, parameters, windows,
                      {.batch = batch, .accumulate = accumulate, .dropout = dropout, .seed = 7});
    std::vector<float> losses;
    for (int i = 1; i <= steps; ++i) {
      std::vector<int> chosen;
      for (int window = 0; window < batch * accumulate; ++window)
        chosen.push_back((i * 5 + window) % windows.count());
      losses.push_back(
          static_cast<float>(step.run(i, {.epoch = 1, .windows = chosen}).mean_loss()));
      optimizer_step(parameters, {}, 1e-3, i);
    }
    return {test::values(parameters.weights()), test::values(parameters.first_moments()),
            test::values(parameters.second_moments()), losses};
  }
};

/// A small training with one sequence, whose recurrence runs in lockstep, and a larger one with
/// groups of sequences.
std::vector<Training> two_trainings() {
  Config small = test::small_config(19), large = test::small_config(64);
  small.dim = 192;  // three parts of lockstep
  small.layers = 1;
  large.dim = 48;
  large.layers = 3;
  large.heads = 3;
  large.memory = "learned";
  return {{.config = small,
           .vocabulary = 17,
           .T = 24,
           .batch = 1,
           .accumulate = 2,
           .dropout = 0.1f,
           .threads = 2,
           .steps = 12},
          {.config = large,
           .vocabulary = 64,
           .T = 16,
           .batch = 6,
           .accumulate = 1,
           .dropout = 0.2f,
           .threads = 2,
           .steps = 12}};
}

EXECUTOR_TEST(SideBySide, ConcurrentTrainingsEqualSequentialOnesBitForBit) {
  const std::vector<Training> trainings = two_trainings();
  std::vector<std::vector<std::vector<float>>> want;
  for (const Training& training : trainings) want.push_back(training.run());
  for (const int threads_of_the_first : {1, 2}) {
    std::vector<std::vector<std::vector<float>>> got(trainings.size());
    std::vector<std::thread> callers;
    for (size_t i = 0; i < trainings.size(); ++i)
      callers.emplace_back([&, i] {
        Training training = trainings[i];
        training.threads = i == 0 ? threads_of_the_first : 3 - threads_of_the_first;
        got[i] = training.run();
      });
    for (std::thread& caller : callers) caller.join();
    for (size_t i = 0; i < trainings.size(); ++i)
      EXPECT_TRUE(got[i] == want[i]) << "training " << i;
  }
}

TEST(Training, ExecutorsAndThreadsGiveTheSameBits) {
  for (Training training : two_trainings()) {
    training.steps = 3;
    std::vector<std::vector<float>> want;
    for (const std::string& executor : executor_names())
      for (const int threads : {1, 2, 3}) {
        ::setenv("MMREC_EXECUTOR", executor.c_str(), 1);
        training.threads = threads;
        std::vector<std::vector<float>> alone = training.run(), inside;
        if (want.empty()) want = alone;
        Context context;
        const Context::Use use(context);
        set_num_threads(threads);
        run_with_threads([&] { inside = training.run(); });
        EXPECT_TRUE(alone == want) << executor << ", " << threads << " threads";
        EXPECT_TRUE(inside == want) << executor << ", " << threads << " threads, in a region";
      }
  }
  ::unsetenv("MMREC_EXECUTOR");
}

/// Two models in one context: only one at a time has the pool's threads; both compute correctly.
EXECUTOR_TEST(SideBySide, ModelsSharingAContextAreCorrect) {
  Context context;
  const Config config = test::small_config(19);
  // in bf16 where that can be had
  const Precision rounded = why_no_bf16().empty() ? Precision::kBf16 : Precision::kFloat32;
  const auto losses = [&](uint64_t seed, Precision precision = Precision::kFloat32) {
    const Context::Use use(context);
    Parameters parameters(config);
    parameters.initialise(seed);
    IntTensor ids, targets;
    const Arena arena = Arena::fitted([&](Arena& fitted) {
      for (IntTensor* tensor : {&ids, &targets}) *tensor = fitted.take<int32_t>({16, 4});
    });
    for (int i = 0; i < ids.count(); ++i) ids.data()[i] = i % 19, targets.data()[i] = (i + 1) % 19;
    Model model(config, 19, parameters, 16, 4, Model::Mode::kInference, 1, precision);
    std::vector<double> losses;
    for (int i = 0; i < 20; ++i) losses.push_back(model.loss(ids, targets).loss);
    return losses;
  };
  {
    const Context::Use use(context);
    set_num_threads(2);
  }
  const std::vector<double> want = losses(1), want_other = losses(2, rounded);
  std::vector<double> got_other;
  std::thread other([&] { got_other = losses(2, rounded); });
  EXPECT_EQ(losses(1), want);
  other.join();
  EXPECT_EQ(got_other, want_other);
}

/// The model's context counts, not that of the calling thread.
EXECUTOR_TEST(SideBySide, ModelComputesWithItsOwnContext) {
  Context context;
  const Config config = test::small_config(19);
  Parameters parameters(config);
  parameters.initialise(1);
  IntTensor ids;
  const Arena arena = Arena::fitted([&](Arena& fitted) { ids = fitted.take<int32_t>({4, 1}); });
  std::unique_ptr<Model> model;
  {
    const Context::Use use(context);
    model = std::make_unique<Model>(config, 19, parameters, 4, 1, Model::Mode::kInference, 1);
    set_profiling(true);
  }
  std::thread([&] { model->read(ids); }).join();
  EXPECT_TRUE(profile_rows().empty());
  const Context::Use use(context);
  EXPECT_FALSE(profile_rows().empty());
}

EXECUTOR_TEST(SideBySide, StopOfOneTrainingDoesNotStopTheOther) {
  const std::vector<Training> trainings = two_trainings();
  const auto want = trainings[1].run();
  std::atomic<int> asked{0};
  std::atomic<bool> stopped{false};
  std::thread other([&] {
    const Interruptible giving_up(asked);
    try {
      for (;;) trainings[0].run();
    } catch (const Interrupted&) {
      stopped = true;
    }
  });
  std::thread asks([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    asked = 1;
  });
  EXPECT_TRUE(trainings[1].run() == want);
  asks.join();
  other.join();
  EXPECT_TRUE(stopped);
}

}  // namespace
}  // namespace mmrec
