#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/parameters.h"
#include "support/console.h"
#include "train/data/windows.h"
#include "train/infer/evaluation.h"
#include "train/run/data.h"
#include "train/run/learning_rate.h"
#include "train/run/metrics.h"
#include "train/run/options.h"
#include "train/run/run_state.h"
#include "train/run/training_step.h"

namespace mmrec {

/// A text that a model wrote.
struct Sample {
  std::string text;
  std::string problem;  ///< why it ends early, or ""
};

/// The computation of a training run: parameters, order of the data, steps, validations, samples. It knows no file, log, terminal or signal;
/// train() (recorded_run.h) drives it and keeps what comes of it. In a library:
///
///     Trainer trainer(options, data);
///     while (!trainer.is_done()) {
///       const MetricsRow row = trainer.step();
///       if (trainer.validation_is_due()) trainer.validate();
///     }
///
/// Rows have all figures but `seconds`: when the run began is known to its caller.
class Trainer {
 public:
  /// At step 0, with weights drawn by the seed. options: as check_options() accepts them, with a config whose vocab_size has room for the
  /// data's tokenizer (run_config()). Throws a UsageError where a text is shorter than a window.
  Trainer(const TrainOptions& options, RunData data);
  Trainer(const Trainer&) = delete;
  Trainer& operator=(const Trainer&) = delete;

  /// Once `stop` is not 0, step(), validate() and sample() give up what is under way and throw Interrupted. The run stands where it stood
  /// before the call, but that its state says which validation or sample is unfinished. `stop` lives as long as the trainer.
  void obey(const std::atomic<int>& stop) { stop_ = &stop; }

  /// Takes the next step. Where grad_norm is not finite the step is not taken: weights, moments and state are what they were.
  MetricsRow step();
  /// Where something that is not finite came up first in the last step: a weight, a place on the way to the loss, or a gradient.
  std::string first_non_finite() const { return training_step_.first_non_finite(); }
  /// Measures the weights on the validation text and compares with the best so far, unless the loss is not finite. There must be an evaluation().
  MetricsRow validate();
  /// What the weights of the moment write.
  Sample sample();

  /// Whether --eval-every or the end of an epoch or of the run asks for a validation after the last step.
  bool validation_is_due() const;
  bool epoch_is_over() const { return state_.step % order_.steps_per_epoch() == 0; }
  /// Whether the last validation, after the last step, is the best so far.
  bool is_best() const { return state_.progress->best_step == state_.step; }
  bool out_of_patience() const { return options_.patience > 0 && state_.progress->validations_since_best >= options_.patience; }
  bool is_done() const { return state_.step >= steps() || out_of_patience(); }

  int64_t steps() const { return rate_.steps; }  ///< of the whole run
  int64_t epochs() const { return (rate_.steps + order_.steps_per_epoch() - 1) / order_.steps_per_epoch(); }
  int64_t epoch() const;  ///< of the last step, from 1
  /// Nothing where there is no validation text.
  const std::optional<Evaluation>& evaluation() const { return evaluation_; }
  /// With numbers in place of auto.
  const TrainOptions& options() const { return options_; }
  const Config& config() const { return options_.config; }
  const Tokenizer& tokenizer() const { return data_.tokenizer; }
  /// Which characters of the data have no token, in words; "" where all have one.
  const std::string& unknown_characters() const { return data_.unknown; }
  /// Model, data and learning rate in lines for people, with warnings.
  std::vector<Note> description() const;

  /// All that a checkpoint needs: weights and moments, and the state. Its run is "" and its seconds are 0: these are the caller's.
  Parameters& parameters() { return parameters_; }
  const RunState& state() const { return state_; }
  /// Goes on from a state of a run on the same data, whose weights and moments the caller puts into parameters(). The options stay those of
  /// the constructor; nothing is unfinished.
  void restore(const RunState& state);

 private:
  TrainingProgress& progress() { return *state_.progress; }
  /// Does a part of what is due after a step, which says so in the state until it is done.
  template <class Body>
  void do_part(const char* part, Body body);

  TrainOptions options_;
  RunData data_;  // without the texts, which are in the windows
  int vocabulary_;
  RunState state_;
  WindowSet windows_;
  BatchOrder order_;
  LearningRate rate_;
  Parameters parameters_;
  TrainingStep training_step_;
  std::optional<Evaluation> evaluation_;
  const std::atomic<int>* stop_;
};

}  // namespace mmrec
