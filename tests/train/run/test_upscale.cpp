#include "train/run/upscale.h"

#include <gtest/gtest.h>

#include <cmath>

#include "support/error.h"
#include "tests/common/expect_error.h"
#include "tests/common/small_runs.h"
#include "train/run/recorded_run.h"

namespace mmrec {
namespace {

namespace fs = std::filesystem;
using test::contents;
using test::expect_error;

class Upscale : public test::SmallRuns {
 protected:
  /// A short run with a learned memory.
  TrainOptions trained() const {
    TrainOptions run = options("small");
    run.config.memory = "learned";
    EXPECT_EQ(train(run), 0);
    return run;
  }
  static Config twice(Config config) {
    config.dim *= 2;
    config.layers += 1;
    return config;
  }
};

TEST_F(Upscale, KeepsTheLossExactlyOrNot) {
  const TrainOptions run = trained();
  const Checkpoint checkpoint(run.out);
  const fs::path exact = directory_ / "exact", overlap = directory_ / "overlap";
  const Config larger = twice(checkpoint.config);
  upscale(checkpoint, larger, GrowthRule::kExact, 1, exact);
  upscale(checkpoint, larger, GrowthRule::kOverlap, 1, overlap);
  const double before = validation_loss(run, checkpoint.folder);
  EXPECT_NEAR(validation_loss(run, exact), before, 1e-5);
  EXPECT_GT(std::abs(validation_loss(run, overlap) - before), 1e-3);

  const Checkpoint grown(exact);
  EXPECT_EQ(grown.config, larger);
  EXPECT_EQ(grown.tokenizer.size(), checkpoint.tokenizer.size());
  EXPECT_EQ(grown.state.step, checkpoint.state.step);
  EXPECT_EQ(grown.state.seed, checkpoint.state.seed);
  EXPECT_FALSE(grown.state.progress.has_value());  // no run can go on with it
}

TEST_F(Upscale, TrainingGoesOnFromIt) {
  const TrainOptions run = trained();
  const Checkpoint checkpoint(run.out);
  const fs::path grown = directory_ / "deeper" / "grown";
  const Config larger = twice(checkpoint.config);
  upscale(checkpoint, larger, GrowthRule::kExact, 1, grown);
  TrainOptions more = options("more");
  more.init = grown.string();
  more.config = larger;
  more.steps = 20;
  ASSERT_EQ(train(more), 0);
  EXPECT_LT(validation_loss(more, more.out), validation_loss(run, run.out));
}

TEST_F(Upscale, RefusesWithoutATrace) {
  const TrainOptions run = trained();
  const Checkpoint checkpoint(run.out);
  const Config larger = twice(checkpoint.config);
  const auto before = contents(directory_.path());
  expect_error<UsageError>([&] { upscale(checkpoint, larger, GrowthRule::kExact, 1, run.out); },
                           {"--out", "something already"});
  Config config = larger;
  config.vocab_size = 16;
  expect_error<UsageError>(
      [&] { upscale(checkpoint, config, GrowthRule::kOverlap, 1, directory_ / "out"); },
      {"vocab_size 16 is too small"});
  config = larger;
  config.memory = "random";
  expect_error<UsageError>(
      [&] { upscale(checkpoint, config, GrowthRule::kExact, 1, directory_ / "out"); },
      {"--exact", "memory learned -> random"});
  EXPECT_TRUE(contents(directory_.path()) == before);
}

}  // namespace
}  // namespace mmrec
