#include "train/run/recorded_run.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "runtime/machine.h"
#include "runtime/profile.h"
#include "runtime/profile_table.h"
#include "runtime/threads.h"
#include "runtime/trace.h"
#include "support/atomic_file.h"
#include "support/child_process.h"
#include "support/counted.h"
#include "support/error.h"
#include "support/exceptions.h"
#include "support/names.h"
#include "support/stop_signals.h"
#include "support/strict_json.h"
#include "train/run/checkpoint.h"
#include "train/run/event_file.h"
#include "train/run/follow.h"
#include "train/run/log.h"
#include "train/run/metrics.h"
#include "train/run/options_json.h"
#include "train/run/precision.h"
#include "train/run/start.h"
#include "train/run/trainer.h"

namespace mmrec {

namespace {

namespace fs = std::filesystem;

/// Runs a Trainer and records its results: folder, log, metrics, events, checkpoints. Signals stop
/// it.
class RecordedRun {
 public:
  using Signals = std::shared_ptr<const StopSignals>;

  /// signals: of the phase before, so that none is missed between two; null: begins to listen.
  RecordedRun(const TrainOptions& options, RunStart start, Signals signals, Ranks& ranks);
  /// Returns the signal that stopped the run, or 0. Exceptions are also logged.
  int train();

  const TrainOptions& options() const { return trainer_.options(); }
  const Signals& signals() const { return stop_; }
  /// Returns whether this was a phase of a growing run, has ended, and another one follows.
  bool phase_is_over() const;
  /// Returns whether this call has taken the steps that --until leaves it.
  bool until_is_reached() const { return steps_taken() >= until_; }
  /// Returns where the next phase starts, with the folder of this run, which ends with it.
  RunStart next_phase() &&;

 private:
  const TrainingProgress& progress() const { return *trainer_.state().progress; }
  int64_t steps_taken() const { return trainer_.state().step; }
  double seconds() const {
    return seconds_before_ +
           std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

  /// Restores the run's state from the checkpoint.
  void take_up(const Checkpoint& checkpoint, bool begins_phase);
  void describe(const RunStart& start, const std::string& growth);
  void check_stop() const;
  void step();
  /// Takes a step, and writes its trace if it is the one that --trace shows.
  MetricsRow traced_step();
  int take_steps();
  /// Does what is due after a step: validation, samples, checkpoints. `unfinished`: when resuming,
  /// the work after the checkpoint's step that is still to do.
  void after_step(const std::string& unfinished = "");
  /// Prints the line of an epoch or a validation. After a validation also saves the best model and
  /// reports early stopping.
  void report(bool validates);
  /// Writes a validation's row and returns the text for that line.
  std::string record(MetricsRow row);
  void save(const std::string& name);
  void save_step();
  void write(const MetricsRow& row);
  void say(std::string_view text, Style style = Style::kPlain);
  void note_error(std::string_view text);
  /// Returns an error's text with advice on how to resume.
  std::string advised(std::string_view problem) const;
  /// Calls `body`, which writes files. Errors get advice on how to resume.
  template <class Body>
  void with_advice(Body body);
  /// Saves the run in the middle of its course. `what`: has stopped it.
  void stop(std::string_view what);
  /// Ends the call where --until says.
  void pause();
  void finish();
  void print_sample(const std::string& heading);
  [[noreturn]] void stop_non_finite(const MetricsRow& row);
  std::string resume_command() const;
  std::string generate_command() const;
  /// For error messages; without a full stop.
  std::string last_checkpoint() const;

  const Ranks& ranks_;
  Trainer trainer_;
  const Signals stop_;  // installed before there is anything to lose
  RunFolder folder_;
  RunLog log_;
  MetricsFile metrics_;
  std::optional<EventFile> events_;
  Progress display_;
  std::string unfinished_;   // from the checkpoint that the run resumes from
  std::string last_saved_;   // folder of a checkpoint
  int64_t saved_step_ = -1;  // step of the newest checkpoint other than best_model
  int64_t traced_step_ = 0;  // step that --trace is to show; 0: done
  const int64_t until_;      // see end_of_call()
  std::chrono::steady_clock::time_point start_;
  double seconds_before_ = 0;  // of earlier parts of the run
};

RecordedRun::RecordedRun(const TrainOptions& options, RunStart start, Signals signals, Ranks& ranks)
    : ranks_(ranks),
      trainer_(make_trainer(options, start, ranks)),
      stop_(signals ? std::move(signals) : std::make_shared<const StopSignals>(!options.quiet)),
      folder_(open_folder(options, start, trainer_.steps())),
      log_(folder_ / RunFolder::kLog, options.quiet),
      metrics_(folder_ / RunFolder::kMetrics),
      display_(log_, trainer_.steps(), trainer_.epochs()),
      until_(end_of_call(trainer_.options(), trainer_.steps())) {
  trainer_.obey(stop_->asked());
  const std::string growth = read_parameters(start, trainer_);
  if (!start.resumes() || !growth.empty()) folder_.write_config(trainer_.config());
  describe(start, growth);
  if (start.resumes()) take_up(*start.checkpoint, !growth.empty());
  trainer_.share();
  if (options.tensorboard) events_.emplace(folder_.root(), steps_taken() + 1);
}

void RecordedRun::take_up(const Checkpoint& checkpoint, bool begins_phase) {
  RunState state = checkpoint.state;
  if (begins_phase) {  // best_model and patience are of one size
    state.progress->best_loss = state.validation_loss = MetricsRow::kNone;
    state.progress->best_step = 0;
    state.progress->validations_since_best = 0;
  }
  seconds_before_ = state.progress->seconds;
  unfinished_ = state.progress->unfinished;
  last_saved_ = checkpoint.folder.string();
  if (checkpoint.folder.filename() != RunFolder::kBest) saved_step_ = state.step;
  if (state.progress->best_step > 0) {
    try {
      const Checkpoint best(folder_ / RunFolder::kBest);
      if (const std::string obstacle = folder_.obstacle(best); !obstacle.empty())
        fail("{}: {}", best.folder.string(), obstacle);
    } catch (const Error& error) {
      log_.line(fmt::format("the best model so far is lost, the next validation begins anew: {}",
                            error.what()),
                Style::kWarning);
      state.progress->best_step = 0;
      state.progress->validations_since_best = 0;
    }
  }
  trainer_.restore(state);
}

void RecordedRun::describe(const RunStart& start, const std::string& growth) {
  if (ranks_.are_many()) log_.line(ranks_.describe());
  if (const std::string warning = ranks_.warning(); !warning.empty())
    log_.line(warning, Style::kWarning);
  for (const std::string& note : start.notes) log_.line(note, Style::kWarning);
  log_.line(describe_machine(start_threads()));
  for (const Note& note : trainer_.description()) log_.line(note.text, note.style);
  if (!trainer_.unknown_characters().empty())
    log_.line(
        trainer_.unknown_characters() +
            (start.checkpoint && !options().extend_vocab ? "; --extend-vocab would add them" : ""),
        Style::kWarning);
  if (!growth.empty()) return log_.line(growth, Style::kHeading);
  if (!start.checkpoint) return;
  const Checkpoint& checkpoint = *start.checkpoint;
  if (!start.resumes())
    return log_.line(fmt::format("weights and tokenizer from {}, step {}; {} tokens added",
                                 checkpoint.folder.string(), checkpoint.state.step,
                                 trainer_.tokenizer().size() - checkpoint.tokenizer.size()));
  const std::string changes =
      describe_changes(in_words(checkpoint.state.progress->options), in_words(to_save(options())));
  log_.line(fmt::format("going on after step {} of {}, from {}{}", checkpoint.state.step,
                        trainer_.steps(), checkpoint.folder.string(),
                        changes.empty() ? "" : "; changed: " + changes),
            Style::kHeading);
}

int RecordedRun::train() {
  try {
    int signal = 0;
    run_with_threads([&] { signal = take_steps(); });
    return signal;
  } catch (const Error& error) {
    note_error(error.what());
    throw;
  } catch (const std::exception& error) {
    const std::string told = advised(in_words(error));
    note_error(told);
    throw Error(told);
  }
}

void RecordedRun::note_error(std::string_view text) {
  try {
    log_.note(fmt::format("error: {}", text));
  } catch (const Error&) {  // the disk may be full
  }
}

int RecordedRun::take_steps() {
  start_ = std::chrono::steady_clock::now();
  set_profiling(options().profile);
  constexpr int64_t kWarmUp = 2;  // steps that get memory, threads and caches ready
  traced_step_ = std::min({steps_taken() + kWarmUp + 1, trainer_.steps(), until_});
  try {
    if (!unfinished_.empty()) {
      saved_step_ = -1;  // the work below is not in the checkpoint
      after_step(unfinished_);
    }
    while (!trainer_.is_done() && !until_is_reached()) {
      check_stop();
      step();
      after_step();
    }
    if (trainer_.is_done() && !phase_is_over()) {
      finish();
    } else if (until_is_reached()) {
      pause();
    } else {
      check_stop();
      if (saved_step_ != steps_taken()) save_step();
    }
    return 0;
  } catch (const Interrupted&) {
    stop(signal_name(stop_->received()));
    return stop_->received();
  }
}

bool RecordedRun::phase_is_over() const {
  return !options().grow.empty() && steps_taken() == trainer_.steps() &&
         steps_taken() < parse_phases(options().grow).back().end;
}

RunStart RecordedRun::next_phase() && {
  RunStart start;
  start.checkpoint.emplace(folder_ / RunFolder::step_name(steps_taken()));
  start.folder.emplace(std::move(folder_));
  return start;
}

void RecordedRun::check_stop() const {
  if (stop_->received() != 0) throw Interrupted();
}

MetricsRow RecordedRun::traced_step() {
  if (options().trace.empty() || steps_taken() + 1 != traced_step_) return trainer_.step();
  Trace trace;
  const MetricsRow row = trainer_.step();
  const std::string events = trace.json(fmt::format("step {}", row.step));
  with_advice([&] { write_file_atomically(options().trace, events); });
  traced_step_ = 0;
  say(fmt::format("trace of step {}: {}; https://ui.perfetto.dev shows it", row.step,
                  options().trace));
  return row;
}

void RecordedRun::step() {
  MetricsRow row = traced_step();
  row.seconds = seconds();
  write(row);
  if (!std::isfinite(row.grad_norm)) stop_non_finite(row);
  with_advice([&] { display_.update(row); });
}

void RecordedRun::after_step(const std::string& unfinished) {
  const auto is_due = [&](int64_t every) { return every > 0 && steps_taken() % every == 0; };
  const bool validates = trainer_.validation_is_due(), last = steps_taken() == trainer_.steps();
  if (unfinished != TrainingProgress::kSample && (validates || last || trainer_.epoch_is_over()))
    report(validates);
  if (is_due(options().sample_every))
    print_sample(fmt::format("{} after step {}:", kSampleHeading, steps_taken()));
  if (is_due(options().save_every)) save_step();
}

void RecordedRun::report(bool validates) {
  const LossSum& sum = progress().epoch;
  std::string line =
      trainer_.epoch_is_over() || steps_taken() == trainer_.steps()
          ? fmt::format("epoch {}/{}: train loss {:.4f}, perplexity {:.2f}, accuracy {}",
                        trainer_.epoch(), trainer_.epochs(), sum.mean_loss(),
                        std::exp(sum.mean_loss()), percent(sum.accuracy()))
          : fmt::format("step {}/{}", steps_taken(), trainer_.steps());
  if (validates) line += record(trainer_.validate());
  const bool best = validates && trainer_.is_best();
  say(line + fmt::format(" | {}", format_duration(seconds())) + (best ? " | best so far" : ""),
      Style::kHeading);
  if (best) save(RunFolder::kBest);
  if (trainer_.out_of_patience() && steps_taken() < trainer_.steps())
    say(fmt::format("no better validation loss for {} validations: stopped early",
                    options().patience));
}

std::string RecordedRun::record(MetricsRow row) {
  row.seconds = seconds();
  write(row);
  if (!std::isfinite(row.loss)) {
    const Evaluation& evaluation = *trainer_.evaluation();
    const bool longer = evaluation.window() > options().sequence;
    fail("step {}: the validation loss is not finite ({}): {}. {}. A lower --lr{} helps.", row.step,
         std::abs(row.loss), describe_overflow(evaluation.finite_tokens(), options().sequence),
         last_checkpoint(),
         longer ? fmt::format(" or, in a new run, --val-seq {}", options().sequence) : "");
  }
  return fmt::format(
      " | validation loss {:.4f}, perplexity {:.2f}, {:.3f} bits a byte, accuracy {}", row.loss,
      row.perplexity(), row.bits_per_byte, percent(row.accuracy));
}

void RecordedRun::write(const MetricsRow& row) {
  with_advice([&] {
    metrics_.append(row);
    if (events_) events_->append(row);
  });
}

void RecordedRun::say(std::string_view text, Style style) {
  with_advice([&] { log_.line(text, style); });
}

template <class Body>
void RecordedRun::with_advice(Body body) {
  try {
    body();
  } catch (const Error& error) {
    throw Error(advised(error.what()));
  }
}

std::string RecordedRun::advised(std::string_view problem) const {
  return fmt::format(
      "{}\n{}. Once that is mended, {}", problem, last_checkpoint(),
      last_saved_.empty() ? "begin again with --overwrite" : "go on with\n  " + resume_command());
}

void RecordedRun::save(const std::string& name) {
  const Parameters& parameters = trainer_.parameters();
  // Finite gradients can give weights or moments beyond a float's range; never save those.
  const auto check = [&](const Tensor& flat) {
    if (const std::string bad = first_non_finite(parameters, flat); !bad.empty())
      fail("step {}: {} or its moments are not finite and are not saved: a lower --lr helps",
           steps_taken(), bad);
  };
  MomentArrays moments = trainer_.moments_to_save();
  RunState state = trainer_.state();
  state.run = folder_.id();
  state.progress->options = to_save(options());
  state.progress->seconds = seconds();
  with_advice([&] {
    metrics_.flush();
    if (events_) events_->flush();
    check(parameters.weights());
    if (moments.exchange)
      moments.exchange = [&, gather = moments.exchange](int which) {
        gather(which);
        check(moments.first);
      };
    else
      for (const Tensor& flat : {moments.first, moments.second}) check(flat);
    folder_.save(name, trainer_.config(), trainer_.tokenizer(), parameters, state,
                 trainer_.carried(), moments);
  });
  last_saved_ = (folder_.path() / name).string();
  if (name != RunFolder::kBest) saved_step_ = state.step;
}

void RecordedRun::save_step() {
  save(RunFolder::step_name(steps_taken()));
  folder_.remove_old(options().keep);
}

void RecordedRun::stop(std::string_view what) {
  if (saved_step_ != steps_taken()) save_step();
  say(fmt::format("stopped by {} after step {} of {}, saved in {}; to go on:\n  {}", what,
                  steps_taken(), trainer_.steps(), last_saved_, resume_command()),
      Style::kHeading);
}

void RecordedRun::pause() {
  // Saved before the validation, which is no part of the run: the next call drops its row.
  if (saved_step_ != steps_taken()) save_step();
  if (trainer_.evaluation() && std::isnan(trainer_.state().validation_loss))
    say(fmt::format("step {}/{}{}", steps_taken(), trainer_.steps(), record(trainer_.measure())),
        Style::kHeading);
  stop("--until");
}

std::string rank_times_line(const GradientSum::Times& times) {
  const auto steps = static_cast<double>(std::max<int64_t>(times.steps, 1));
  return fmt::format(
      "ranks: adding up the gradients took {:.2f} ms a step, {:.0f} % of it behind the backward "
      "pass; this rank waited {:.2f} ms a step",
      1e3 * times.under_way / steps, 100 * times.hidden(), 1e3 * times.waited / steps);
}

void RecordedRun::finish() {
  // The run resumed with no step left, from a checkpoint without validation or without its best
  // model.
  if (trainer_.evaluation() &&
      (std::isnan(trainer_.state().validation_loss) || progress().best_step == 0))
    report(true);
  save(RunFolder::kFinal);
  if (!trainer_.evaluation()) save(RunFolder::kBest);
  set_profiling(false);
  if (!options().trace.empty() && traced_step_ != 0)
    say(fmt::format("no step was left for the trace: {} was not written", options().trace),
        Style::kWarning);

  const double time = seconds();
  const int64_t tokens = trainer_.state().tokens;
  say(fmt::format("{} {}, {} tokens in {}: {:.0f} tokens/s with validation and checkpoints",
                  steps_taken() < trainer_.steps() ? "stopped after" : "trained",
                  counted(steps_taken(), "step"), tokens, format_duration(time),
                  static_cast<double>(tokens) / time),
      Style::kHeading);
  const Checkpoint best(folder_ / RunFolder::kBest);
  if (trainer_.evaluation())
    say(fmt::format("best validation loss {:.4f}, {:.3f} bits a byte (step {}): {}",
                    best.state.validation_loss, trainer_.bits_per_byte(best.state.validation_loss),
                    best.state.step, best.folder.string()));
  if (options().profile) {
    say(profile_table(time));
    if (ranks_.are_many()) say(rank_times_line(trainer_.rank_times()));
  }
  best.read_weights(trainer_.parameters());
  trainer_.parameters().start_average();
  print_sample(fmt::format("{}:", kSampleHeading));
  say("to write more:\n  " + generate_command());
}

void RecordedRun::print_sample(const std::string& heading) {
  if (options().sample_tokens == 0) return;
  const Sample sample = trainer_.sample();
  say(heading, Style::kHeading);
  say(sample.text);
  say(kSampleEnd);
  if (!sample.problem.empty())
    say(fmt::format("the sample ends early: {}", sample.problem), Style::kWarning);
}

void RecordedRun::stop_non_finite(const MetricsRow& row) {
  // Both figures are >= 0; abs() removes the meaningless sign of a NaN.
  fail(
      "step {}: {} is not finite (loss {}, gradient norm {}); the weights were not changed by it. "
      "{}. A lower --lr or --clip helps.",
      row.step, trainer_.first_non_finite(), std::abs(row.loss), std::abs(row.grad_norm),
      last_checkpoint());
}

std::string RecordedRun::resume_command() const {
  return fmt::format("{} --resume --out {}", shell_quoted(options().program),
                     shell_quoted(folder_.path().string()));
}

std::string RecordedRun::generate_command() const {
  const fs::path program = beside_program(options().program, "generate");
  return fmt::format("{} --checkpoint {}", shell_quoted(program.string()),
                     shell_quoted(folder_.path().string()));
}

std::string RecordedRun::last_checkpoint() const {
  return last_saved_.empty() ? "No checkpoint was written yet"
                             : "The last checkpoint is " + last_saved_;
}

/// Throws an error if the file of --trace cannot be written, or is something else than a trace: a
/// mistyped name must not destroy it.
void check_is_trace(const fs::path& file) {
  check_writable(file);
  if (!fs::exists(file)) return;
  const std::string content = read_file(file);
  if (!content.empty() && !content.starts_with(kTraceBegin))
    fail_usage("--trace {}: it is a file of another kind; choose another name or remove it first",
               file.string());
}

/// Makes a run compute in float32 where bf16 is asked for and cannot be had.
void take_usable_precision(TrainOptions& options, RunStart& start) {
  if (const std::string line = fall_back(options.precision); !line.empty())
    start.notes.push_back(line);
}

/// Runs the phases of a growing run, or a run of one size. Each phase starts as if the run had been
/// stopped and resumed at the end of the phase before.
int train_phases(TrainOptions options, RunStart first, Ranks& ranks) {
  if (!options.trace.empty()) check_is_trace(options.trace);
  check_is_shared(options.out, ranks);
  std::optional<RunStart> start(std::move(first));
  for (RecordedRun::Signals signals;;) {
    RecordedRun run(options, std::move(*start), signals, ranks);
    const int signal = run.train();
    if (signal != 0 || run.until_is_reached() || !run.phase_is_over()) return signal;
    options = run.options();
    signals = run.signals();
    start.emplace(std::move(run).next_phase());
  }
}

}  // namespace

int train(const TrainOptions& options, Ranks& ranks) {
  check_options(options);
  check_phases(options);
  RunStart start = start_new(options);
  TrainOptions usable = options;
  take_usable_precision(usable, start);
  return train_phases(std::move(usable), std::move(start), ranks);
}

int resume_training(const fs::path& run_or_checkpoint,
                    const std::function<void(TrainOptions&)>& change, Ranks& ranks) {
  RunStart start = start_again(run_or_checkpoint);
  const TrainOptions& saved = start.checkpoint->state.progress->options;
  TrainOptions options = saved;
  options.config = start.checkpoint->config;
  options.out = start.folder->path();
  change(options);
  check_options(options);
  check_fixed_options(saved, options);
  if (saved.precision == options.precision) check_same_bits(saved.precision, "the run");
  take_usable_precision(options, start);
  return train_phases(std::move(options), std::move(start), ranks);
}

}  // namespace mmrec
