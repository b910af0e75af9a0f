#include "train/run/trainer.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "model/architecture.h"
#include "model/optimizer.h"
#include "runtime/threads.h"
#include "support/counted.h"
#include "support/error.h"
#include "support/stopwatch.h"
#include "train/infer/text_generator.h"
#include "train/infer/whole_characters.h"
#include "train/run/follow.h"
#include "train/run/log.h"
#include "train/run/precision.h"

namespace mmrec {

namespace {

/// Makes the average, if there is one, the weights for as long as it lives.
class AveragedWeights {
 public:
  explicit AveragedWeights(Parameters& parameters) : parameters_(parameters) {
    parameters_.swap_average();
  }
  ~AveragedWeights() { parameters_.swap_average(); }
  AveragedWeights(const AveragedWeights&) = delete;
  AveragedWeights& operator=(const AveragedWeights&) = delete;

 private:
  Parameters& parameters_;
};

LearningRate rate_of(const TrainOptions& options, int steps_per_epoch, int64_t begin) {
  const int64_t steps = total_steps(options, steps_per_epoch) - begin;
  return {.peak = options.optimizer.learning_rate,
          .minimum = parse_minimum_rate(options.minimum_rate, options.optimizer.learning_rate),
          .warmup = warmup_steps(options, steps),
          .steps = steps};
}

/// Returns a rank's part of the optimizer's work.
Parameters::Range share_of(int rank, const std::vector<int64_t>& shares) {
  if (shares.size() == 2) return Parameters::kAll;
  const auto r = static_cast<size_t>(rank);
  return {static_cast<int>(shares[r]), static_cast<int>(shares[r + 1])};
}

}  // namespace

Trainer::Trainer(const TrainOptions& options, RunData data, int64_t begin, Ranks& ranks)
    : context_(Context::current()),
      ranks_(ranks),
      options_(options),
      data_(std::move(data)),
      vocabulary_(model_vocabulary(options.config, data_.tokenizer)),
      state_{.seed = options.seed,
             .validation_loss = MetricsRow::kNone,
             .progress = TrainingProgress{.options = {}, .data = data_.fingerprint()}},
      windows_(std::move(data_.train), options.sequence, "the training text"),
      order_(windows_.count(), options.batch * options.accumulate, options.seed, options.carry),
      begin_(begin),
      rate_(rate_of(options, order_.steps_per_epoch(), begin)),
      shares_(optimizer_shares(parameter_table(options.config), options.optimizer.algorithm,
                               options.shard_optimizer ? ranks.size() : 1)),
      parameters_(options.config,
                  options.optimizer.average > 0 ? Parameters::Arrays::kAveraged
                                                : Parameters::Arrays::kTrained,
                  share_of(ranks.rank(), shares_)),
      training_step_(options.config, vocabulary_, parameters_, windows_,
                     {.batch = options.batch,
                      .accumulate = options.accumulate,
                      .dropout = options.dropout,
                      .seed = options.seed,
                      .recompute = options.recompute,
                      .streams = options.carry > 1 ? order_.streams() : 0,
                      .order = GradientSum::parse_order(options.allreduce),
                      .precision = parse_precision(options.precision)},
                     ranks),
      stop_(&kNoStop) {
  options_.validation_tokens = validation_tokens(options, order_.steps_per_epoch());
  options_.warmup = rate_.warmup;
  progress().options = options_;
  validation_bytes_.add(data_.validation, data_.tokenizer);
  if (const int window = validation_window(options, data_.validation.count()); window > 0)
    evaluation_.emplace(options.config, vocabulary_, parameters_, options.seed,
                        WindowSet(std::move(data_.validation), window, "the validation text"),
                        options_.validation_tokens, validation_piece(options, window),
                        parse_precision(options.precision));
  parameters_.initialise(options.seed);
  if (ranks_.are_many() && ranks_.leads())
    have_followers_made(options_, data_.tokenizer, progress().data, begin, ranks_);
}

void Trainer::lead(Command command) {
  if (ranks_.are_many() && ranks_.leads()) ranks_.broadcast_value(command);
}

void Trainer::share() {
  if (!ranks_.are_many()) return;
  lead(Command::kShare);
  const Context::Use use(context_);
  const auto moments = [&](int which) {
    return shards_optimizer() ? Tensor() : own_moments(which);  // see scatter_moments()
  };
  for (const Tensor& flat : {parameters_.weights(), moments(1), moments(2), parameters_.average(),
                             training_step_.states()})
    if (flat.data()) ranks_.broadcast(std::as_writable_bytes(contiguous_span(flat)));
  state_.step = ranks_.broadcast_value(state_.step);
  ranks_.expect_answers();
}

const Tensor& Trainer::own_moments(int which) const {
  return which == 1 ? parameters_.first_moments() : parameters_.second_moments();
}

MomentArrays Trainer::moments(void (Trainer::*exchange)(int which)) {
  if (!shards_optimizer()) return {own_moments(1), own_moments(2)};
  return {parameters_.gradients(), parameters_.gradients(),
          [this, exchange](int which) { (this->*exchange)(which); }};
}
MomentArrays Trainer::moments_to_save() { return moments(&Trainer::gather_moments); }
MomentArrays Trainer::moments_to_read() { return moments(&Trainer::scatter_moments); }

std::vector<Ranks::Transfer> Trainer::moments_to_move(const Tensor& own) const {
  if (!ranks_.leads()) return {{0, contiguous_span(own)}};
  std::vector<Ranks::Transfer> of_others;
  for (int rank = 1; rank < ranks_.size(); ++rank) {
    const auto [begin, end] = share_of(rank, shares_);
    of_others.push_back({rank, contiguous_span(parameters_.gradients().rows(begin, end))});
  }
  return of_others;
}

void Trainer::gather_moments(int which) {
  lead(Command::kGatherMoments);
  const Tensor& own = own_moments(ranks_.broadcast_value(which));
  const std::vector<Ranks::Transfer> moved = moments_to_move(own);
  if (!ranks_.leads()) return ranks_.finish(*ranks_.exchange(moved, {}));
  copy_values(own, parameters_.gradients().rows(0, own.size(0)));
  ranks_.finish(*ranks_.exchange({}, moved));
}

void Trainer::scatter_moments(int which) {
  lead(Command::kScatterMoments);
  const Tensor& own = own_moments(ranks_.broadcast_value(which));
  const std::vector<Ranks::Transfer> moved = moments_to_move(own);
  if (!ranks_.leads()) return ranks_.finish(*ranks_.exchange({}, moved));
  copy_values(parameters_.gradients().rows(0, own.size(0)), own);
  ranks_.finish(*ranks_.exchange(moved, {}));
}

void Trainer::restore(const RunState& state) {
  state_ = state;
  progress().options = options_;
  progress().unfinished.clear();
}

int64_t Trainer::epoch() const {
  return (std::max<int64_t>(state_.step, 1) - 1) / order_.steps_per_epoch() + 1;
}

MetricsRow Trainer::step() {
  lead(Command::kStep);
  const Context::Use use(context_);
  const Stopwatch time;
  const int64_t number = state_.step + 1;
  const Batch batch = order_.batch(number);
  const LossSum sum = [&] {
    const Interruptible giving_up(*stop_);
    return training_step_.run(number, batch);
  }();
  const double rate = rate_.at(number - begin_);
  const auto share_weights = [this] {
    if (shards_optimizer())
      ranks_.finish(*ranks_.share(contiguous_span(parameters_.weights()), shares_));
  };
  const double norm = sum.is_finite() ? optimizer_step(parameters_, options_.optimizer, rate,
                                                       number - begin_, share_weights)
                                      : MetricsRow::kNone;
  const MetricsRow row{
      .step = number,
      .epoch = batch.epoch,
      .loss = sum.mean_loss(),
      .accuracy = sum.accuracy(),
      .lr = rate,
      .grad_norm = norm,
      .aux_loss = training_step_.has_auxiliary_loss() ? sum.mean_auxiliary() : MetricsRow::kNone,
      .max_factor = sum.range.factor,
      .max_state = sum.range.state,
      .tokens = number * options_.batch * options_.accumulate * options_.sequence,
      .tokens_per_second = static_cast<double>(sum.tokens) / time.seconds()};
  if (!std::isfinite(norm)) return row;
  training_step_.keep_states(batch);
  if (epoch_is_over()) progress().epoch = {};  // this step begins the next epoch
  state_.step = number;
  state_.tokens = row.tokens;
  state_.validation_loss = MetricsRow::kNone;
  progress().epoch += sum;
  return row;
}

bool Trainer::validation_is_due() const {
  if (!evaluation_) return false;
  if (state_.step == steps()) return true;
  return options_.eval_every > 0 ? state_.step % options_.eval_every == 0 : epoch_is_over();
}

template <class Body>
void Trainer::do_part(const char* part, Body body) {
  progress().unfinished = part;
  body();
  progress().unfinished.clear();
}

MetricsRow Trainer::validate() {
  MetricsRow row;
  do_part(TrainingProgress::kValidation, [&] { row = measure(); });
  const double loss = state_.validation_loss = row.loss;
  if (std::isfinite(loss)) {
    if (progress().best_step == 0 || loss < progress().best_loss) {
      progress().best_loss = loss;
      progress().best_step = state_.step;
      progress().validations_since_best = 0;
    } else {
      ++progress().validations_since_best;
    }
  }
  return row;
}

MetricsRow Trainer::measure() {
  lead(Command::kMeasure);
  const Context::Use use(context_);
  const AveragedWeights averaged(parameters_);
  const Interruptible giving_up(*stop_);
  const Stopwatch time;
  const LossSum sum = evaluation_->run({}, ranks_);
  const double taken = time.seconds(), loss = sum.mean_loss();
  const double in_trained_window = validation_piece(options_, evaluation_->window()) > 0
                                       ? evaluation_->mean_loss_in_pieces(ranks_)
                                       : MetricsRow::kNone;
  return {.step = state_.step,
          .epoch = epoch(),
          .split = "val",
          .loss = loss,
          .loss_in_trained_window = in_trained_window,
          .bits_per_byte = bits_per_byte(loss),
          .accuracy = sum.accuracy(),
          .tokens = state_.tokens,
          .tokens_per_second = static_cast<double>(sum.tokens) / taken};
}

Sample Trainer::sample() {
  const Context::Use use(context_);
  const Tokenizer& tokenizer = data_.tokenizer;
  Sample sample;
  WholeCharacters characters;
  do_part(TrainingProgress::kSample, [&] {
    const AveragedWeights averaged(parameters_);
    const Interruptible giving_up(*stop_);
    try {
      TextGenerator generator(config(), tokenizer.size(), parameters_, options_.seed,
                              {.seed = options_.seed}, 1, options_.sequence,
                              parse_precision(options_.precision));
      generator.read_prompt(neutral_prompt(tokenizer));
      for (int64_t i = 0; i < options_.sample_tokens; ++i) {
        const std::span<const int32_t> ids = generator.choose();
        sample.text += characters.pass(tokenizer.decode(ids));
        generator.read(ids);
      }
    } catch (const Error& error) {
      sample.problem = error.what();
    }
    sample.text += characters.rest();
  });
  return sample;
}

std::vector<Note> Trainer::description() const {
  std::vector<Note> notes;
  notes.push_back({fmt::format(
      "model: {} parameters, dim {}, {}; {:.0f} MB for a step of {} x {} tokens in {}",
      parameter_count(parameters_.table()), config().dim, describe_layers(config()),
      static_cast<double>(training_step_.bytes() +
                          (parameters_.has_average() ? 20 : 16) * parameters_.weights().count()) /
          1e6,
      options_.batch * options_.accumulate, options_.sequence, options_.precision)});
  notes.insert(notes.end(), data_.notes.begin(), data_.notes.end());
  notes.push_back({fmt::format(
      "data: {}: {} of {}, {}{}{} in all; validation: {}", options_.data,
      counted(windows_.count(), "window"), options_.sequence, order_.steps_per_epoch(), kStepsInAll,
      steps(),
      evaluation_ ? fmt::format("{} {}", evaluation_->tokens(), data_.tokenizer.unit()) : "none")});
  notes.push_back({"learning rate: " + rate_.describe()});
  if (const std::string warning = rate_.warning(); !warning.empty())
    notes.push_back({warning, Style::kWarning});
  return notes;
}

}  // namespace mmrec
