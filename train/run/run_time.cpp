#include "train/run/run_time.h"

#include <algorithm>
#include <future>
#include <vector>

#include "model/architecture.h"
#include "model/optimizer.h"
#include "runtime/context.h"
#include "runtime/threads.h"
#include "support/atomic_file.h"
#include "support/stopwatch.h"
#include "train/run/checkpoint.h"
#include "train/run/folder.h"
#include "train/run/precision.h"
#include "train/run/recipe.h"
#include "train/run/trainer.h"
#include "train/run/training_step.h"

namespace mmrec {

namespace {

/// Saves a checkpoint beside those that the run will have. If this is killed, the run's start
/// removes what is left.
double seconds_of_save(Trainer& trainer, const std::filesystem::path& out) {
  make_directory(out);
  const PathAt trial = partial_name(out / RunFolder::kFinal);
  const DirectoryLock lock = make_locked_directory(trial);
  const Stopwatch time;
  save_checkpoint(trial / RunFolder::kFinal, trainer.config(), trainer.tokenizer(),
                  trainer.parameters(), trainer.state(), trainer.carried(),
                  trainer.moments_to_save());
  const double seconds = time.seconds();
  remove_tree(trial);
  return seconds;
}

/// The same in the current context.
StepCosts measure_rank(double seconds, const TrainOptions& options, const RunData& data) {
  constexpr int kFirst = 2, kFewest = 3;  // the first are slower, as above
  Parameters parameters(options.config, options.optimizer.average > 0
                                            ? Parameters::Arrays::kAveraged
                                            : Parameters::Arrays::kTrained);
  parameters.initialise(options.seed);
  const WindowSet windows(data.train, options.sequence, "the training text");
  TrainingStep training_step(options.config, model_vocabulary(options.config, data.tokenizer),
                             parameters, windows,
                             {.batch = options.batch,
                              .accumulate = 1,
                              .dropout = options.dropout,
                              .seed = options.seed,
                              .recompute = options.recompute,
                              .precision = parse_precision(options.precision)});
  BatchOrder order(windows.count(), options.batch, options.seed);
  std::vector<double> passes, optimizer;
  int64_t taken = 0;
  for (const Stopwatch all; taken < kFirst + kFewest || all.seconds() < seconds;) {
    ++taken;
    const Stopwatch computing;
    training_step.run(taken, order.batch(taken));
    const double computed = computing.seconds();
    const Stopwatch optimizing;
    optimizer_step(parameters, options.optimizer, options.optimizer.learning_rate, taken);
    if (taken <= kFirst) continue;
    passes.push_back(computed);
    optimizer.push_back(optimizing.seconds());
  }
  std::ranges::sort(passes);
  std::ranges::sort(optimizer);
  return {.part = passes, .optimizer = optimizer[optimizer.size() / 2]};
}

}  // namespace

StepCosts measure_step(double seconds, const TrainOptions& options, const RunData& data, int ranks,
                       int threads) {
  std::vector<std::future<StepCosts>> all;
  for (int rank = 0; rank < ranks; ++rank)
    all.push_back(std::async(std::launch::async, [&] {
      Context context;
      const Context::Use use(context);
      set_num_threads(threads);
      StepCosts costs;
      run_with_threads([&] { costs = measure_rank(seconds, options, data); });
      return costs;
    }));
  StepCosts costs;
  for (std::future<StepCosts>& rank : all) {
    const StepCosts one = rank.get();
    costs.part.insert(costs.part.end(), one.part.begin(), one.part.end());
    costs.optimizer += one.optimizer / ranks;
  }
  std::ranges::sort(costs.part);
  return costs;
}

RunCosts measure_costs(double seconds, const TrainOptions& options, const RunData& data,
                       Ranks& ranks) {
  constexpr int kFirst = 3;  // slower: memory is touched for the first time
  constexpr int64_t kSampled = 30;
  TrainOptions trial = options;
  trial.steps = INT32_MAX;
  trial.validation_tokens = 10'000;
  trial.sample_tokens = std::min(options.sample_tokens, kSampled);
  Trainer trainer(trial, data, 0, ranks);
  for (int i = 0; i < kFirst; ++i) trainer.step();
  RunCosts costs;
  const double enough = std::min(0.025 * seconds, 6.);
  const Stopwatch time;
  int64_t taken = 0;
  do {
    trainer.step();
    ++taken;
  } while (time.seconds() < enough);
  costs.step = time.seconds() / static_cast<double>(taken);
  if (trainer.evaluation()) {
    const Stopwatch validating;
    trainer.validate();
    costs.validated_token =
        validating.seconds() / static_cast<double>(trainer.evaluation()->tokens());
  }
  costs.save = seconds_of_save(trainer, options.out);
  if (trial.sample_tokens > 0) {
    const Stopwatch writing;
    trainer.sample();
    costs.sample = writing.seconds() * static_cast<double>(options.sample_tokens) /
                   static_cast<double>(trial.sample_tokens);
  }
  return costs;
}

double run_seconds(const RunCosts& costs, TrainOptions options, int64_t steps,
                   const RunData& data) {
  options.steps = steps;
  if (has_recipe(options)) choose_intervals(options, steps);
  const int64_t an_epoch = std::max<int64_t>(
      data.train.count() / (int64_t{options.batch} * options.accumulate * options.sequence), 1);
  const int64_t every = options.eval_every > 0 ? options.eval_every : an_epoch,
                validations = (steps + every - 1) / every,
                most = validation_tokens(options, static_cast<int>(an_epoch)),
                all = data.validation.count(), validated = most == 0 ? all : std::min(most, all);
  const auto times = [&](int64_t interval) { return interval > 0 ? steps / interval : 0; };
  // the last two: best_model, and final_checkpoint
  const int64_t saves = times(options.save_every) + (all > 0 ? validations : 1) + 1;
  const int64_t samples = times(options.sample_every) + 1;
  return static_cast<double>(steps) * costs.step +
         static_cast<double>(validations * validated) * costs.validated_token +
         static_cast<double>(saves) * costs.save + static_cast<double>(samples) * costs.sample;
}

int64_t steps_within(double seconds, const RunCosts& costs, const TrainOptions& options,
                     const RunData& data) {
  double steps = std::max(seconds / costs.step, 1.);
  // What does not depend on the steps makes this converge in place of being right at once.
  for (int i = 0; i < 10; ++i)
    steps = std::max(
        steps * seconds / run_seconds(costs, options, static_cast<int64_t>(steps), data), 1.);
  return static_cast<int64_t>(steps);
}

}  // namespace mmrec
