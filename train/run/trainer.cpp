#include "train/run/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "model/architecture.h"
#include "runtime/machine.h"
#include "runtime/profile.h"
#include "runtime/profile_table.h"
#include "runtime/threads.h"
#include "support/atomic_file.h"
#include "support/error.h"
#include "support/exceptions.h"
#include "support/names.h"
#include "support/stop_signals.h"
#include "support/strict_json.h"
#include "train/infer/evaluation.h"
#include "train/infer/text_generator.h"
#include "train/run/checkpoint.h"
#include "train/run/event_file.h"
#include "train/run/learning_rate.h"
#include "train/run/log.h"
#include "train/run/metrics.h"
#include "train/run/start.h"
#include "train/run/training_step.h"

namespace mmrec {

namespace {

namespace fs = std::filesystem;

class Run {
 public:
  Run(const TrainOptions& options, RunStart start);
  /// Returns the signal that stopped it, or 0. What it throws is in the log, too.
  int train();

 private:
  Course& course() { return *state_.course; }
  double seconds() const { return seconds_before_ + std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }
  int64_t tokens_per_step() const { return int64_t{options_.batch} * options_.accumulate * options_.sequence; }
  /// Of the last step.
  int64_t epoch() const { return (std::max<int64_t>(state_.step, 1) - 1) / order_.steps_per_epoch() + 1; }
  bool epoch_is_over() const { return state_.step % order_.steps_per_epoch() == 0; }
  bool out_of_patience() { return options_.patience > 0 && course().validations_since_best >= options_.patience; }

  void begin_parameters(const RunStart& start);
  /// Takes the run up where the checkpoint left it.
  void take_up(const Checkpoint& checkpoint);
  void describe(const RunStart& start);
  void check_stop() const;
  /// Does a part of what is due after a step. A stop in the middle has the run, when it goes on, do it anew.
  template <class Body>
  void do_part(const char* part, Body body);
  void step();
  int take_steps();
  /// What is due after a step, or is still due after one that a checkpoint has: validation, samples, checkpoints.
  void after_step();
  /// The line of an epoch's end or a validation; what the validation, if there is one, is followed by.
  void report(bool validated);
  /// Appends its result to the line; true where it is the best so far.
  bool validate(std::string& line);
  void save(const std::string& name);
  void write(const MetricsRow& row);
  void say(std::string_view text, Style style = Style::kPlain);
  void note_error(std::string_view text);
  /// An error's text and how the run can go on.
  std::string advised(std::string_view problem) const;
  /// Calls `body`, which writes files; an error of it also tells how the run can go on.
  template <class Body>
  void with_advice(Body body);
  void interrupt(int signal);
  void finish();
  void print_sample(const std::string& heading);
  [[noreturn]] void stop_non_finite(const MetricsRow& row);
  std::string resume_command() const;
  /// For errors, without a full stop.
  std::string last_checkpoint() const;

  TrainOptions options_;
  RunData data_;
  Config config_;
  int vocabulary_;
  DataIdentity identity_;
  WindowSet windows_;
  BatchOrder order_;
  LearningRate rate_;
  int64_t epochs_;
  Parameters parameters_;
  TrainingStep training_step_;
  std::optional<Evaluation> evaluation_;
  const StopSignals stop_;  // before there is anything to lose
  RunFolder folder_;
  RunLog log_;
  MetricsFile metrics_;
  std::optional<EventFile> events_;
  Progress progress_;
  RunState state_;
  std::string last_saved_;   // a checkpoint's folder
  int64_t saved_step_ = -1;  // of the newest that is not just the best model
  std::chrono::steady_clock::time_point start_;
  double seconds_before_ = 0;  // of the run's earlier parts
};

Run::Run(const TrainOptions& options, RunStart start)
    : options_(options),
      data_(load_data(options, start.tokenizer())),
      config_(run_config(options, start, data_.tokenizer)),
      vocabulary_(model_vocabulary(config_, data_.tokenizer)),
      identity_(data_identity(options, start, data_)),
      windows_(std::move(data_.train), options.sequence, "the training text"),
      order_(windows_.count(), options.batch * options.accumulate, options.seed),
      rate_{.peak = options.optimizer.learning_rate,
            .minimum = parse_minimum_rate(options.minimum_rate, options.optimizer.learning_rate),
            .warmup = warmup_steps(options, total_steps(options, order_.steps_per_epoch())),
            .steps = total_steps(options, order_.steps_per_epoch())},
      epochs_((rate_.steps + order_.steps_per_epoch() - 1) / order_.steps_per_epoch()),
      parameters_(config_),
      training_step_(config_, vocabulary_, parameters_, windows_,
                     {.batch = options.batch, .accumulate = options.accumulate, .dropout = options.dropout, .seed = options.seed}),
      stop_(!options.quiet),
      folder_(open_folder(options, start, rate_.steps)),
      log_(folder_ / RunFolder::kLog, options.quiet),
      metrics_(folder_ / RunFolder::kMetrics),
      progress_(log_, rate_.steps, epochs_),
      state_{.seed = options.seed, .run = folder_.id(), .validation_loss = MetricsRow::kNone, .course = Course{.options = {}, .data = identity_}} {
  options_.validation_tokens = validation_tokens(options, order_.steps_per_epoch());
  options_.warmup = rate_.warmup;
  course().options = to_save(options_);
  const int window = validation_window(options, data_.validation.count());
  if (window > 0)
    evaluation_.emplace(config_, vocabulary_, parameters_, options.seed, WindowSet(std::move(data_.validation), window, "the validation text"),
                        options_.validation_tokens, validation_piece(options, window));
  begin_parameters(start);
  if (!start.resumes()) folder_.write_config(config_);
  describe(start);
  if (start.resumes()) take_up(*start.checkpoint);
  if (options.tensorboard) events_.emplace(folder_.root(), state_.step + 1);
}

void Run::begin_parameters(const RunStart& start) {
  parameters_.initialise(options_.seed);
  if (!start.checkpoint) return;
  // Rows of characters that the checkpoint's tokenizer did not have begin like any new row, not as the padding that they were.
  const Tensor added = parameters_.weight("embedding.weight").rows(start.checkpoint->tokenizer.size(), data_.tokenizer.size());
  const std::vector<float> drawn(added.data(), added.data() + added.count());
  start.checkpoint->read_weights(parameters_);
  std::ranges::copy(drawn, added.data());
  if (start.resumes()) start.checkpoint->read_moments(parameters_);
}

void Run::take_up(const Checkpoint& checkpoint) {
  state_ = checkpoint.state;
  course().options = to_save(options_);
  seconds_before_ = course().seconds;
  last_saved_ = checkpoint.folder.string();
  if (checkpoint.folder.filename() != RunFolder::kBest) saved_step_ = state_.step;
  if (course().best_step == 0) return;
  try {
    const Checkpoint best(folder_ / RunFolder::kBest);
    if (const std::string obstacle = folder_.obstacle(best); !obstacle.empty()) fail("{}: {}", best.folder.string(), obstacle);
  } catch (const Error& error) {
    log_.line(fmt::format("the best model so far is lost, the next validation begins anew: {}", error.what()), Style::kWarning);
    course().best_step = 0;
    course().validations_since_best = 0;
  }
}

void Run::describe(const RunStart& start) {
  for (const std::string& note : start.notes) log_.line(note, Style::kWarning);
  log_.line(describe_machine(start_threads()));
  log_.line(fmt::format("model: {} parameters, dim {}, {}; {:.0f} MB for a step of {} x {} tokens", parameter_count(parameters_.table()), config_.dim,
                        describe_layers(config_), static_cast<double>(training_step_.bytes() + 16 * parameters_.weights().count()) / 1e6,
                        options_.batch * options_.accumulate, options_.sequence));
  for (const Note& note : data_.notes) log_.line(note.text, note.style);
  log_.line(fmt::format("data: {}: {} windows of {}, {} steps an epoch, {} in all; validation: {}", options_.data, windows_.count(),
                        options_.sequence, order_.steps_per_epoch(), rate_.steps,
                        evaluation_ ? fmt::format("{} characters", evaluation_->positions()) : "none"));
  log_.line("learning rate: " + rate_.describe());
  if (const std::string warning = rate_.warning(); !warning.empty()) log_.line(warning, Style::kWarning);
  if (!data_.unknown.empty())
    log_.line(data_.unknown + (start.checkpoint && !options_.extend_vocab ? "; --extend-vocab would add them" : ""), Style::kWarning);
  if (!start.checkpoint) return;
  const Checkpoint& checkpoint = *start.checkpoint;
  if (!start.resumes())
    return log_.line(fmt::format("weights and tokenizer from {}, step {}; {} characters added", checkpoint.folder.string(), checkpoint.state.step,
                                 data_.tokenizer.size() - checkpoint.tokenizer.size()));
  const std::string changes = describe_changes(to_json(checkpoint.state.course->options), to_json(to_save(options_)));
  log_.line(fmt::format("going on after step {} of {}, from {}{}", checkpoint.state.step, rate_.steps, checkpoint.folder.string(),
                        changes.empty() ? "" : "; changed: " + changes),
            Style::kHeading);
}

int Run::train() {
  try {
    return take_steps();
  } catch (const Error& error) {
    note_error(error.what());
    throw;
  } catch (const std::exception& error) {
    const std::string told = advised(in_words(error));
    note_error(told);
    throw Error(told);
  }
}

void Run::note_error(std::string_view text) {
  try {
    log_.note(fmt::format("error: {}", text));
  } catch (const Error&) {  // the disk is full
  }
}

int Run::take_steps() {
  start_ = std::chrono::steady_clock::now();
  set_profiling(options_.profile);
  try {
    if (!course().unfinished.empty()) {
      saved_step_ = -1;  // what is done now is not in the checkpoint
      after_step();
    }
    while (state_.step < rate_.steps && !out_of_patience()) {
      check_stop();
      step();
      after_step();
    }
    finish();
    return 0;
  } catch (const Interrupted&) {
    interrupt(stop_.received());
    return stop_.received();
  }
}

void Run::check_stop() const {
  if (stop_.received() != 0) throw Interrupted();
}

template <class Body>
void Run::do_part(const char* part, Body body) {
  course().unfinished = part;
  body();
  course().unfinished.clear();
}

void Run::step() {
  const double begin = seconds();
  const int64_t number = state_.step + 1;
  const Batch batch = order_.batch(number);
  const LossSum sum = [&] {
    const Interruptible giving_up(stop_.asked());
    return training_step_.run(number, batch);
  }();
  const double rate = rate_.at(number);
  const double norm = std::isfinite(sum.mean_loss()) ? optimizer_step(parameters_, options_.optimizer, rate, number) : MetricsRow::kNone;
  const double now = seconds();
  const MetricsRow row{.step = number,
                       .epoch = batch.epoch,
                       .loss = sum.mean_loss(),
                       .accuracy = sum.accuracy(),
                       .lr = rate,
                       .grad_norm = norm,
                       .tokens = number * tokens_per_step(),
                       .tokens_per_second = static_cast<double>(sum.positions) / (now - begin),
                       .seconds = now};
  write(row);
  if (!std::isfinite(norm)) stop_non_finite(row);
  state_.step = number;
  state_.tokens = row.tokens;
  state_.validation_loss = MetricsRow::kNone;
  course().epoch += sum;
  with_advice([&] { progress_.update(row); });
}

void Run::after_step() {
  const auto is_due = [&](int64_t every) { return every > 0 && state_.step % every == 0; };
  const bool last = state_.step == rate_.steps;
  const bool validates = evaluation_ && (last || (options_.eval_every > 0 ? is_due(options_.eval_every) : epoch_is_over()));
  const std::string unfinished = std::exchange(course().unfinished, "");
  if (unfinished != Course::kSample && (validates || last || epoch_is_over())) report(validates);
  if (is_due(options_.sample_every)) print_sample(fmt::format("{} after step {}:", kSampleHeading, state_.step));
  if (is_due(options_.save_every)) {
    save(RunFolder::step_name(state_.step));
    folder_.remove_old(options_.keep);
  }
}

void Run::report(bool validated) {
  const LossSum& sum = course().epoch;
  std::string line = epoch_is_over() || state_.step == rate_.steps
                         ? fmt::format("epoch {}/{}: train loss {:.4f}, perplexity {:.2f}, accuracy {}", epoch(), epochs_, sum.mean_loss(),
                                       std::exp(sum.mean_loss()), percent(sum.accuracy()))
                         : fmt::format("step {}/{}", state_.step, rate_.steps);
  const bool best = validated && validate(line);
  say(line + fmt::format(" | {}", format_duration(seconds())) + (best ? " | best so far" : ""), Style::kHeading);
  if (epoch_is_over()) course().epoch = {};
  if (best) save(RunFolder::kBest);
  if (out_of_patience() && state_.step < rate_.steps)
    say(fmt::format("no better validation loss for {} validations: stopped early", options_.patience));
}

bool Run::validate(std::string& line) {
  const double begin = seconds();
  const bool longer = validation_piece(options_, evaluation_->window()) > 0;
  LossSum sum;
  double in_trained_window = MetricsRow::kNone, taken = 0;
  do_part(Course::kValidation, [&] {
    const Interruptible giving_up(stop_.asked());
    sum = evaluation_->run();
    taken = seconds() - begin;
    if (longer) in_trained_window = evaluation_->mean_loss_in_pieces();
  });
  state_.validation_loss = sum.mean_loss();
  write({.step = state_.step,
         .epoch = epoch(),
         .split = "val",
         .loss = sum.mean_loss(),
         .loss_in_trained_window = in_trained_window,
         .accuracy = sum.accuracy(),
         .tokens = state_.tokens,
         .tokens_per_second = static_cast<double>(sum.positions) / taken,
         .seconds = seconds()});
  if (!std::isfinite(state_.validation_loss))
    fail("step {}: the validation loss is not finite ({}): {}. {}. A lower --lr{} helps.", state_.step, std::abs(state_.validation_loss),
         describe_overflow(evaluation_->finite_tokens(), options_.sequence), last_checkpoint(),
         longer ? fmt::format(" or, in a new run, --val-seq {}", options_.sequence) : "");
  line +=
      fmt::format(" | validation loss {:.4f}, perplexity {:.2f}, accuracy {}", sum.mean_loss(), std::exp(sum.mean_loss()), percent(sum.accuracy()));
  const bool best = course().best_step == 0 || state_.validation_loss < course().best_loss;
  if (best) {
    course().best_loss = state_.validation_loss;
    course().best_step = state_.step;
    course().validations_since_best = 0;
  } else {
    ++course().validations_since_best;
  }
  return best;
}

void Run::write(const MetricsRow& row) {
  with_advice([&] {
    metrics_.append(row);
    if (events_) events_->append(row);
  });
}

void Run::say(std::string_view text, Style style) {
  with_advice([&] { log_.line(text, style); });
}

template <class Body>
void Run::with_advice(Body body) {
  try {
    body();
  } catch (const Error& error) {
    throw Error(advised(error.what()));
  }
}

std::string Run::advised(std::string_view problem) const {
  return fmt::format("{}\n{}. Once that is mended, {}", problem, last_checkpoint(),
                     last_saved_.empty() ? "begin again with --overwrite" : "go on with\n  " + resume_command());
}

void Run::save(const std::string& name) {
  // Weights or moments beyond a float's range can come from finite gradients; no checkpoint has them.
  for (const Tensor& flat : {parameters_.weights(), parameters_.first_moments(), parameters_.second_moments()})
    if (const std::string bad = first_non_finite(parameters_, flat); !bad.empty())
      fail("step {}: {} or its moments are not finite and are not saved. {}. A lower --lr helps.", state_.step, bad, last_checkpoint());
  course().seconds = seconds();
  with_advice([&] {
    metrics_.flush();
    if (events_) events_->flush();
    folder_.save(name, config_, data_.tokenizer, parameters_, state_);
  });
  last_saved_ = (folder_.path() / name).string();
  if (name != RunFolder::kBest) saved_step_ = state_.step;
}

void Run::interrupt(int signal) {
  if (saved_step_ != state_.step) {
    save(RunFolder::step_name(state_.step));
    folder_.remove_old(options_.keep);
  }
  say(fmt::format("stopped by {} after step {} of {}, saved in {}; to go on:\n  {}", signal_name(signal), state_.step, rate_.steps, last_saved_,
                  resume_command()),
      Style::kHeading);
}

void Run::finish() {
  // Where the run went on with no step left to take, from a checkpoint within it or without its best model.
  if (evaluation_ && (std::isnan(state_.validation_loss) || course().best_step == 0)) report(true);
  save(RunFolder::kFinal);
  if (!evaluation_) save(RunFolder::kBest);
  set_profiling(false);

  const double time = seconds();
  say(fmt::format("{} {} steps, {} tokens in {}: {:.0f} tokens/s with validation and checkpoints",
                  state_.step < rate_.steps ? "stopped after" : "trained", state_.step, state_.tokens, format_duration(time),
                  static_cast<double>(state_.tokens) / time),
      Style::kHeading);
  const Checkpoint best(folder_ / RunFolder::kBest);
  if (evaluation_) say(fmt::format("best validation loss {:.4f} (step {}): {}", best.state.validation_loss, best.state.step, best.folder.string()));
  if (options_.profile) say(profile_table(time));
  best.read_weights(parameters_);
  print_sample(fmt::format("{}:", kSampleHeading));
}

void Run::print_sample(const std::string& heading) {
  if (options_.sample_tokens == 0) return;
  Generator generator(config_, data_.tokenizer.size(), parameters_, options_.seed, {.seed = options_.seed}, 1, options_.sequence);
  std::string text, end;
  do_part(Course::kSample, [&] {
    const Interruptible giving_up(stop_.asked());
    try {
      generator.read_prompt(neutral_prompt(data_.tokenizer));
      for (int64_t i = 0; i < options_.sample_tokens; ++i) {
        const std::span<const int32_t> ids = generator.choose();
        text += data_.tokenizer.decode(ids);
        generator.read(ids);
      }
    } catch (const Error& error) {  // of the sample; the run goes on
      end = fmt::format("the sample ends early: {}", error.what());
    }
  });
  say(heading, Style::kHeading);
  say(text);
  say(kSampleEnd);
  if (!end.empty()) say(end, Style::kWarning);
}

void Run::stop_non_finite(const MetricsRow& row) {
  // Neither figure is below 0, and a NaN's sign says nothing.
  fail("step {}: {} is not finite (loss {}, gradient norm {}); the weights were not changed by it. {}. A lower --lr or --clip helps.", row.step,
       training_step_.first_non_finite(), std::abs(row.loss), std::abs(row.grad_norm), last_checkpoint());
}

std::string Run::resume_command() const {
  return fmt::format("{} --resume --out {}", shell_quoted(options_.program), shell_quoted(folder_.path().string()));
}

std::string Run::last_checkpoint() const { return last_saved_.empty() ? "No checkpoint was written yet" : "The last checkpoint is " + last_saved_; }

}  // namespace

int train(const TrainOptions& options) {
  check_options(options);
  return Run(options, start_new(options)).train();
}

int resume_training(const fs::path& run_or_checkpoint, const std::function<void(TrainOptions&)>& change) {
  RunStart start = start_again(run_or_checkpoint);
  const TrainOptions& saved = start.checkpoint->state.course->options;
  TrainOptions options = saved;
  options.config = start.checkpoint->config;
  options.out = start.folder->path();
  change(options);
  check_options(options);
  check_fixed_options(saved, options);
  return Run(options, std::move(start)).train();
}

}  // namespace mmrec
