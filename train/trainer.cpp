#include "train/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <deque>
#include <nlohmann/json.hpp>
#include <optional>

#include "model/model.h"
#include "runtime/cpu_info.h"
#include "runtime/error.h"
#include "runtime/kernel_registry.h"
#include "runtime/profile.h"
#include "runtime/threads.h"
#include "train/atomic_file.h"
#include "train/checkpoint.h"
#include "train/corpus.h"
#include "train/evaluation.h"
#include "train/generator.h"
#include "train/learning_rate.h"
#include "train/metrics.h"
#include "train/profile_table.h"
#include "train/run_log.h"
#include "train/tokenizer.h"
#include "train/windows.h"

namespace mmrec {

namespace {

namespace fs = std::filesystem;

/// The text, as tokens.
struct Data {
  Tokenizer tokenizer;
  std::vector<int32_t> train, validation;
};

Data load_data(const TrainOptions& options) {
  const Corpus corpus = load_corpus(options.data, options.validation_split);
  CharacterCounts counts;
  count_characters(corpus.train, options.data, counts);
  count_characters(corpus.validation, options.data, counts);
  Tokenizer tokenizer(counts, options.vocabulary);
  std::vector<int32_t> train = tokenizer.encode(corpus.train, options.data), validation = tokenizer.encode(corpus.validation, options.data);
  return {std::move(tokenizer), std::move(train), std::move(validation)};
}

/// Whether a run writes files of this name, or left one behind when it was killed.
bool belongs_to_a_run(const std::string& name) {
  if (name.starts_with("checkpoint_step_")) return true;
  for (const std::string known : {"best_model", "final_checkpoint", "latest", "metrics.jsonl", "training_output.log", "config.json"})
    if (name == known || name.starts_with(known + ".partial-") || name.starts_with(known + ".old-")) return true;
  return false;
}

/// The folder of a new run. One that holds a run already is refused, or on demand that run goes to its folder `previous`: a
/// new run that is stopped early must not have cost the old one.
void prepare_folder(const fs::path& out, bool overwrite) {
  make_directory(out);
  std::vector<fs::path> earlier;
  for (const auto& entry : fs::directory_iterator(out))
    if (belongs_to_a_run(entry.path().filename().string())) earlier.push_back(entry.path());
  if (earlier.empty()) return;
  if (!overwrite) fail_usage("{} holds a run already; choose another --out, or say --overwrite", out.string());
  const fs::path previous = out / "previous";
  fs::remove_all(previous);
  make_directory(previous);
  for (const fs::path& path : earlier) fs::rename(path, previous / path.filename());
}

class Run {
 public:
  explicit Run(const TrainOptions& options);
  void train();

 private:
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }
  int64_t tokens() const { return step_ * options_.batch * options_.sequence; }
  void describe();
  LossSum step(int epoch);
  /// True when the run should stop early.
  bool end_epoch(int epoch, const LossSum& sum);
  void save(const std::string& name);
  void summarise(bool stopped_early);
  void print_sample();
  [[noreturn]] void stop_non_finite(double loss, double norm);

  const TrainOptions& options_;
  Data data_;
  Config config_;
  WindowSet windows_;
  BatchOrder order_;
  LearningRate rate_;
  int epochs_;
  Parameters parameters_;
  Model model_;
  std::optional<Evaluation> evaluation_;
  Arena arena_;
  Memory memory_;
  IntTensor ids_, targets_;
  RunLog log_;
  MetricsFile metrics_;
  Progress progress_;
  std::chrono::steady_clock::time_point start_;
  int64_t step_ = 0;
  double validation_loss_ = MetricsRow::kNone, best_loss_ = MetricsRow::kNone;
  int best_epoch_ = 0;
  std::deque<fs::path> step_checkpoints_;
};

Config with_vocabulary(Config config, int vocabulary, const Tokenizer& tokenizer) {
  config.vocab_size = vocabulary == 0 ? padded_vocabulary(tokenizer.size()) : vocabulary;
  check_config(config);
  return config;
}

int64_t total_steps(const TrainOptions& options, const BatchOrder& order) {
  return options.steps > 0 ? options.steps : int64_t{options.epochs} * order.steps_per_epoch();
}

Run::Run(const TrainOptions& options)
    : options_(options),
      data_(load_data(options)),
      config_(with_vocabulary(options.config, options.vocabulary, data_.tokenizer)),
      windows_(std::move(data_.train), options.sequence, "the training text"),
      order_(windows_.count(), options.batch, options.seed),
      rate_{
          .peak = options.optimizer.learning_rate, .minimum = options.minimum_rate, .warmup = options.warmup, .steps = total_steps(options, order_)},
      epochs_(static_cast<int>((rate_.steps + order_.steps_per_epoch() - 1) / order_.steps_per_epoch())),
      parameters_(config_),
      model_(config_, model_vocabulary(config_, data_.tokenizer), parameters_, options.sequence, options.batch, Model::Mode::kTraining),
      log_((prepare_folder(options.out, options.overwrite), options.out / "training_output.log"), options.quiet),
      metrics_(options.out / "metrics.jsonl"),
      progress_(log_, rate_.steps, epochs_) {
  arena_ = Arena::fitted([&](Arena& arena) {
    memory_ = allocate_memory(config_, arena);
    for (IntTensor* tensor : {&ids_, &targets_}) *tensor = arena.take<int32_t>({options.sequence, options.batch});
  });
  parameters_.initialise(options.seed);
  // A validation text that is shorter than its windows is one window.
  const int validation_window = static_cast<int>(std::min<size_t>(options.validation_sequence, std::max<size_t>(data_.validation.size(), 1) - 1));
  if (validation_window > 0)
    evaluation_.emplace(config_, model_vocabulary(config_, data_.tokenizer), parameters_, options.seed,
                        WindowSet(std::move(data_.validation), validation_window, "the validation text"));
  write_file_atomically(options.out / "config.json", to_json(config_).dump(2) + "\n");
}

void Run::describe() {
  log_.line(fmt::format("{}, {} threads; kernels for {}, schedules: {}", cpu_name(), num_threads(), kernel_target(), kernel_schedule()));
  log_.line(fmt::format("model: {} parameters, dim {}, {} layers, {} heads, vocabulary {}; {:.0f} MB for a step of {} x {} tokens",
                        parameter_count(parameters_.table()), config_.dim, config_.layers, config_.heads, config_.vocab_size,
                        static_cast<double>(model_.bytes() + 16 * parameters_.weights().count()) / 1e6, options_.batch, options_.sequence));
  log_.line(fmt::format("data: {}: {} windows of {}, {} steps an epoch, {} in all; validation: {}", options_.data, windows_.count(),
                        options_.sequence, order_.steps_per_epoch(), rate_.steps,
                        evaluation_ ? fmt::format("{} characters", evaluation_->positions()) : "none"));
}

void Run::train() {
  describe();
  start_ = std::chrono::steady_clock::now();
  set_profiling(options_.profile);
  bool stopped_early = false;
  while (step_ < rate_.steps && !stopped_early) {
    const int epoch = order_.batch(step_ + 1).epoch;
    LossSum sum;
    while (step_ < rate_.steps && order_.batch(step_ + 1).epoch == epoch) {
      sum += step(epoch);
      if (options_.save_every > 0 && step_ % options_.save_every == 0) {
        save(fmt::format("checkpoint_step_{:06}", step_));
        step_checkpoints_.push_back(options_.out / fmt::format("checkpoint_step_{:06}", step_));
        for (; step_checkpoints_.size() > static_cast<size_t>(options_.keep); step_checkpoints_.pop_front())
          remove_directory_atomically(step_checkpoints_.front());
      }
    }
    stopped_early = end_epoch(epoch, sum);
  }
  save("final_checkpoint");
  if (!evaluation_) save("best_model");
  set_profiling(false);
  summarise(stopped_early);
  print_sample();
}

LossSum Run::step(int epoch) {
  const double begin = seconds();
  ++step_;
  windows_.fill(order_.batch(step_).windows, ids_, targets_);
  draw_memory(options_.seed, static_cast<uint64_t>(step_), memory_);
  model_.clear_state();
  const LossSum sum =
      model_.loss_and_gradients(ids_, targets_, memory_, {.p = options_.dropout, .seed = options_.seed, .step = static_cast<uint64_t>(step_)});
  if (!std::isfinite(sum.mean_loss())) stop_non_finite(sum.mean_loss(), MetricsRow::kNone);
  const double rate = rate_.at(step_), norm = optimizer_step(parameters_, options_.optimizer, rate, step_);
  if (!std::isfinite(norm)) stop_non_finite(sum.mean_loss(), norm);
  const double now = seconds();
  const MetricsRow row{.step = step_,
                       .epoch = epoch,
                       .loss = sum.mean_loss(),
                       .accuracy = sum.accuracy(),
                       .lr = rate,
                       .grad_norm = norm,
                       .tokens = tokens(),
                       .tokens_per_second = static_cast<double>(sum.positions) / (now - begin),
                       .seconds = now};
  metrics_.append(row);
  progress_.update(row);
  return sum;
}

void Run::stop_non_finite(double loss, double norm) {
  std::string where = first_non_finite(parameters_, parameters_.gradients());
  where = where.empty() ? "the loss" : "the gradient of " + where;
  const std::string last =
      step_checkpoints_.empty() ? "no checkpoint was written yet" : "the last checkpoint is " + step_checkpoints_.back().string();
  fail("step {}: {} is not finite (loss {}, gradient norm {}); the weights were not changed by it, {}. A lower --lr or --clip helps.", step_, where,
       loss, norm, last);
}

bool Run::end_epoch(int epoch, const LossSum& sum) {
  std::string line = fmt::format("epoch {}/{}: train loss {:.4f}, perplexity {:.2f}, accuracy {:.1f} %", epoch, epochs_, sum.mean_loss(),
                                 std::exp(sum.mean_loss()), 100 * sum.accuracy());
  bool stop = false, best = false;
  if (evaluation_) {
    const double begin = seconds();
    const LossSum validation = evaluation_->run();
    validation_loss_ = validation.mean_loss();
    if (!std::isfinite(validation_loss_))
      fail("step {}: the validation loss is not finite ({}): the weights have grown too large. The last checkpoint is in {}. A lower --lr helps.",
           step_, validation_loss_, options_.out.string());
    const double now = seconds();
    metrics_.append({.step = step_,
                     .epoch = epoch,
                     .split = "val",
                     .loss = validation.mean_loss(),
                     .accuracy = validation.accuracy(),
                     .tokens = tokens(),
                     .tokens_per_second = static_cast<double>(validation.positions) / (now - begin),
                     .seconds = now});
    line += fmt::format(" | validation loss {:.4f}, perplexity {:.2f}, accuracy {:.1f} %", validation.mean_loss(), std::exp(validation.mean_loss()),
                        100 * validation.accuracy());
    best = best_epoch_ == 0 || validation_loss_ < best_loss_;
    if (best) {
      best_loss_ = validation_loss_;
      best_epoch_ = epoch;
    }
    stop = options_.patience > 0 && epoch - best_epoch_ >= options_.patience;
  }
  log_.line(line + fmt::format(" | {}", format_duration(seconds())) + (best ? " | best so far" : ""), Style::kHeading);
  if (best) save("best_model");
  if (stop && step_ < rate_.steps) log_.line(fmt::format("no better validation loss for {} epochs: stopped early", options_.patience));
  return stop;
}

void Run::save(const std::string& name) {
  save_checkpoint(options_.out / name, config_, data_.tokenizer, parameters_,
                  {.step = step_, .tokens = tokens(), .seed = options_.seed, .validation_loss = validation_loss_});
  if (name != "best_model") write_file_atomically(options_.out / "latest", name + "\n");
}

void Run::summarise(bool stopped_early) {
  const double time = seconds();
  log_.line(fmt::format("{} {} steps, {} tokens in {}: {:.0f} tokens/s with validation and checkpoints", stopped_early ? "stopped after" : "trained",
                        step_, tokens(), format_duration(time), static_cast<double>(tokens()) / time),
            Style::kHeading);
  if (evaluation_)
    log_.line(fmt::format("best validation loss {:.4f} (epoch {}): {}", best_loss_, best_epoch_, (options_.out / "best_model").string()));
  if (options_.profile) log_.line(profile_table(time));
}

void Run::print_sample() {
  if (options_.sample_tokens == 0) return;
  if (evaluation_) Checkpoint(options_.out / "best_model").read_weights(parameters_);
  Generator generator(config_, data_.tokenizer.size(), parameters_, options_.seed, {.seed = options_.seed});
  std::string text;
  generator.read(data_.tokenizer.encode("\n", "the sample's prompt")[0]);
  for (int64_t i = 0; i < options_.sample_tokens; ++i) {
    const int32_t id = generator.choose();
    text += data_.tokenizer.decode(id);
    generator.read(id);
  }
  log_.line("sample of generated text:", Style::kHeading);
  log_.line(text);
}

}  // namespace

void train(const TrainOptions& options) { Run(options).train(); }

}  // namespace mmrec
