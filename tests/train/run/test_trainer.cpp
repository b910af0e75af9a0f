#include "train/run/trainer.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <thread>

#include "runtime/context.h"
#include "runtime/profile.h"
#include "runtime/threads.h"
#include "runtime/trace.h"
#include "tests/common/bf16.h"
#include "tests/common/small_runs.h"
#include "tests/common/trace_file.h"
#include "train/run/recorded_run.h"

namespace mmrec {
namespace {

using test::values;

/// Makes in memory what `train` reads from play.txt.
RunData data_of(std::string_view play, int vocabulary) {
  const size_t cut = split_point(play, 0.1);
  CharacterCounts counts;
  count_characters(play, "play", counts);
  const Tokenizer tokenizer(counts, vocabulary);
  return {tokenizer,
          tokenizer.encode(play.substr(0, cut), "play"),
          tokenizer.encode(play.substr(cut), "play"),
          {},
          "",
          ""};
}

/// Tests a Trainer directly, and compares it with runs that train() records.
class TrainerTest : public test::SmallRuns {
 protected:
  TrainerTest() : play_(read_file(directory_ / "play.txt")) {}

  TrainOptions options(const std::string& out) const {
    TrainOptions options = SmallRuns::options(out);
    options.vocabulary = options.config.vocab_size = 100;
    options.steps = 7;
    options.eval_every = 3;
    return options;
  }
  RunData data() const { return data_of(play_, 100); }

  static void expect_equal(Trainer& one, const Parameters& other) {
    EXPECT_EQ(values(one.parameters().weights()), values(other.weights()));
    EXPECT_EQ(values(one.parameters().first_moments()), values(other.first_moments()));
    EXPECT_EQ(values(one.parameters().second_moments()), values(other.second_moments()));
  }

  std::string play_;
};

TEST_F(TrainerTest, TakesTheSameStepsAsARecordedRun) {
  const TrainOptions run = options("run");
  Trainer trainer(run, data());
  EXPECT_FALSE(std::filesystem::exists(run.out));
  std::vector<MetricsRow> steps, validations;
  while (!trainer.is_done()) {
    steps.push_back(trainer.step());
    if (trainer.validation_is_due()) validations.push_back(trainer.validate());
  }
  EXPECT_FALSE(std::filesystem::exists(run.out));

  train(run);
  const Checkpoint final(run.out / "final_checkpoint");
  Parameters parameters(final.config);
  final.read_weights(parameters);
  final.read_moments(parameters);
  expect_equal(trainer, parameters);

  const std::vector<MetricsRow> recorded = rows(run, "train"), validated = rows(run, "val");
  ASSERT_EQ(steps.size(), recorded.size());
  for (size_t i = 0; i < steps.size(); ++i) {
    EXPECT_EQ(steps[i].step, recorded[i].step);
    EXPECT_EQ(steps[i].loss, recorded[i].loss);
    EXPECT_EQ(steps[i].grad_norm, recorded[i].grad_norm);
    EXPECT_EQ(steps[i].tokens, recorded[i].tokens);
  }
  ASSERT_EQ(validations.size(), 3u);
  ASSERT_EQ(validated.size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(validations[i].loss, validated[i].loss);
    EXPECT_EQ(validations[i].loss_in_trained_window, validated[i].loss_in_trained_window);
  }
  EXPECT_EQ(trainer.state().progress->best_loss, final.state.progress->best_loss);
  EXPECT_EQ(trainer.state().progress->data, final.state.progress->data);
}

/// The rounding of factors, by up to 2^-9 of each, is independent and averages out in the sums of a
/// model's products: what is left in the loss is a small part of that. The bound is 2^-9 of the
/// loss, which is about 3.5.
TEST_F(TrainerTest, LearnsInBf16AsInFloat32) {
  MMREC_NEEDS_BF16();
  const auto loss_with = [&](const char* precision) {
    TrainOptions options = this->options("run");
    options.steps = 30;
    options.precision = precision;
    Trainer trainer(options, data());
    while (!trainer.is_done()) trainer.step();
    return trainer.validate().loss;
  };
  const double want = loss_with("float32"), got = loss_with("bf16");
  EXPECT_NE(got, want);
  EXPECT_NEAR(got, want, std::ldexp(want, -9));
}

TEST_F(TrainerTest, ContinuesFromAStateAndItsParameters) {
  const TrainOptions run = options("run");
  Trainer whole(run, data()), first(run, data()), second(run, data());
  const auto take = [](Trainer& trainer, int64_t steps) {
    while (trainer.state().step < steps) {
      trainer.step();
      if (trainer.validation_is_due()) trainer.validate();
    }
  };
  take(whole, 7);
  take(first, 4);
  for (const auto& flat :
       {&Parameters::weights, &Parameters::first_moments, &Parameters::second_moments}) {
    const Tensor &from = (first.parameters().*flat)(), &to = (second.parameters().*flat)();
    std::copy_n(from.data(), from.count(), to.data());
  }
  second.restore(first.state());
  take(second, 7);
  expect_equal(second, whole.parameters());
  EXPECT_EQ(second.state().progress->epoch.loss, whole.state().progress->epoch.loss);
  EXPECT_EQ(second.state().progress->best_loss, whole.state().progress->best_loss);
  EXPECT_TRUE(second.is_done());
}

// Validations measure the average; the steps go on from the weights themselves.
TEST_F(TrainerTest, ValidatesTheAverage) {
  TrainOptions averaged = options("run");
  averaged.optimizer.average = 0.99f;
  Trainer trainer(averaged, data()), plain(options("run"), data());
  for (int i = 0; i < 5; ++i) {
    trainer.step();
    plain.step();
  }
  const double loss = trainer.validate().loss, last = plain.validate().loss;
  EXPECT_NE(loss, last);
  EXPECT_EQ(values(trainer.parameters().weights()), values(plain.parameters().weights()));
  const std::atomic<int> stop{1}, none{0};
  trainer.obey(stop);
  EXPECT_THROW(trainer.validate(), Interrupted);
  EXPECT_EQ(values(trainer.parameters().weights()), values(plain.parameters().weights()));
  copy_values(trainer.parameters().average(), plain.parameters().weights());
  EXPECT_EQ(loss, plain.validate().loss);
}

TEST_F(TrainerTest, AStopChangesNothing) {
  Trainer trainer(options("run"), data());
  trainer.step();
  const std::vector<float> before = values(trainer.parameters().weights());
  {
    const std::atomic<int> stop{1};
    trainer.obey(stop);
    EXPECT_THROW(trainer.step(), Interrupted);
    EXPECT_EQ(trainer.state().progress->unfinished, "");
    EXPECT_THROW(trainer.validate(), Interrupted);
    EXPECT_EQ(trainer.state().progress->unfinished, TrainingProgress::kValidation);
    EXPECT_EQ(values(trainer.parameters().weights()), before);
    EXPECT_EQ(trainer.state().step, 1);
  }
  const std::atomic<int> go_on{0};
  trainer.obey(go_on);
  trainer.validate();
  EXPECT_EQ(trainer.state().progress->unfinished, "");
  EXPECT_TRUE(trainer.is_best());
}

TEST_F(TrainerTest, MeasuringIsNoPartOfTheRun) {
  Trainer trainer(options("run"), data());
  trainer.step();
  const MetricsRow measured = trainer.measure();
  EXPECT_TRUE(std::isnan(trainer.state().validation_loss));
  EXPECT_EQ(trainer.state().progress->best_step, 0);
  const MetricsRow validation = trainer.validate();
  EXPECT_EQ(measured.loss, validation.loss);
  EXPECT_EQ(measured.bits_per_byte, validation.bits_per_byte);
  EXPECT_EQ(trainer.state().progress->best_step, 1);
}

/// The trainer's context counts, not that of the calling thread.
TEST_F(TrainerTest, ComputesWithItsOwnContext) {
  TrainOptions run = options("run");
  run.sample_tokens = 5;
  const auto take_a_step = [](Trainer& trainer) {
    trainer.step();
    const double loss = trainer.validate().loss;
    return fmt::format("{} {}", loss, trainer.sample().text);
  };
  Trainer usual(run, data());
  const std::string want = take_a_step(usual);

  Context own, other;
  std::optional<Trainer> trainer;
  {
    const Context::Use use(own);
    set_num_threads(2);
    set_profiling(true);
    trainer.emplace(run, data());
  }
  const auto operations = [] {
    std::set<std::string> names;
    for (const ProfileRow& row : profile_rows()) names.insert(row.op);
    return names;
  };
  std::thread([&] {
    const Context::Use use(other);
    set_num_threads(1);
    set_profiling(true);
    EXPECT_EQ(take_a_step(*trainer), want);
    EXPECT_EQ(operations(), std::set<std::string>());
  }).join();
  expect_equal(*trainer, usual.parameters());
  const Context::Use use(own);
  for (const char* op : {"adamw", "sum_of_squares", "linear_cross_entropy", "gemm"})
    EXPECT_TRUE(operations().contains(op)) << op;
}

/// A trace has the calls that the profile sums up.
TEST_F(TrainerTest, TraceHasAllKernelsOfAStep) {
  for (const std::string& executor : executor_names()) {
    Context own;
    const Context::Use use(own);
    set_executor(executor);
    set_num_threads(2);
    run_with_threads([&] {
      Trainer trainer(options("run"), data());
      trainer.step();
      reset_profile();
      set_profiling(true);
      Trace trace;
      trainer.step();
      const test::TraceFile file(trace.json("step 2"));
      set_profiling(false);
      file.expect_consistent();
      EXPECT_EQ(file.names.size(), 2) << executor << ": a row for each thread";

      std::map<std::string, std::pair<int64_t, double>> traced, profiled;  // calls, seconds
      for (const test::Span& kernel : file.of("kernel")) {
        auto& [calls, seconds] = traced[kernel.name + kernel.args.at("sizes").dump()];
        ++calls;
        seconds += 1e-9 * static_cast<double>(kernel.time());
      }
      for (const ProfileRow& row : profile_rows()) {
        nlohmann::json sizes;
        const std::vector<std::string>& names = registry::find_operation(row.op)->sizes;
        for (size_t i = 0; i < names.size(); ++i) sizes[names[i]] = row.sizes.data()[i];
        auto& [calls, seconds] =
            profiled[kernel_label(row.op, row.pass, row.dtype, row.variant) + sizes.dump()];
        calls += row.calls;
        seconds += row.call_seconds;
      }
      ASSERT_EQ(traced.size(), profiled.size());
      for (const auto& [kernel, sums] : profiled) {
        EXPECT_EQ(traced[kernel].first, sums.first) << kernel;
        EXPECT_NEAR(traced[kernel].second, sums.second, 1e-8 * static_cast<double>(sums.first))
            << kernel;
      }
    });
  }
}

TEST_F(TrainerTest, DiscardsNonFiniteSteps) {
  Trainer trainer(options("run"), data());
  trainer.step();
  trainer.parameters().weight("blocks.1.ffn.0.weight").data()[3] = INFINITY;
  const std::vector<float> before = values(trainer.parameters().weights());
  EXPECT_FALSE(std::isfinite(trainer.step().grad_norm));
  EXPECT_EQ(trainer.first_non_finite(), "the weight blocks.1.ffn.0.weight");
  EXPECT_EQ(trainer.state().step, 1);
  EXPECT_EQ(values(trainer.parameters().weights()), before);
}

}  // namespace
}  // namespace mmrec
