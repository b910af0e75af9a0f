#include "train/infer/evaluation.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <numeric>
#include <span>

#include "runtime/threads.h"
#include "support/error.h"

namespace mmrec {

namespace {
constexpr int kBatch = 8;  // windows

/// The sizes of batches: full ones, and the remainder (0: none).
std::array<int, 2> batches(int64_t windows) {
  if (windows < kBatch) return {static_cast<int>(windows), 0};
  return {kBatch, static_cast<int>(windows % kBatch)};
}
}  // namespace

Evaluation::Evaluation(const Config& config, int vocabulary, Parameters& parameters, uint64_t seed,
                       WindowSet windows, int64_t most_tokens, int piece, Precision precision)
    : windows_(std::move(windows)), loss_(static_cast<size_t>(windows_.T())) {
  const int64_t most = evaluated_windows(windows_.count(), windows_.T(), most_tokens);
  for (int64_t i = 0; i < most; ++i)
    chosen_.push_back(static_cast<int>(i * windows_.count() / most));
  const int count = static_cast<int>(most);
  const auto model_of = [&](int T, int batch) {
    return T > 0 ? std::make_unique<Model>(config, vocabulary, parameters, T, batch,
                                           Model::Mode::kInference, seed, precision)
                 : nullptr;
  };
  for (const int batch : batches(count))
    if (batch > 0)
      shapes_.push_back({model_of(windows_.T(), batch), model_of(piece, batch), {}, {}});
  arena_ = Arena::fitted([&](Arena& arena) {
    for (Shape& shape : shapes_)
      for (IntTensor* tensor : {&shape.ids, &shape.targets})
        *tensor = arena.take<int32_t>({windows_.T(), shape.model->B()});
  });
  sums_.resize(batch_count());
  losses_in_pieces_.resize(piece > 0 ? batch_count() : 0);
}

size_t Evaluation::bytes(const Config& config, int64_t windows, int T, int piece,
                         Precision precision) {
  size_t sum = 0;
  for (const int batch : batches(windows))
    for (const int tokens : {T, piece})
      if (batch > 0 && tokens > 0)
        sum += model_bytes(config, tokens, batch, Model::Mode::kInference, precision);
  return sum;
}

int64_t Evaluation::tokens_at_once(int64_t windows, int T) {
  const auto [full, rest] = batches(windows);
  return (int64_t{full} + rest) * T;
}

int64_t evaluated_windows(int64_t count, int T, int64_t most_tokens) {
  return most_tokens == 0 ? count : std::clamp<int64_t>(most_tokens / T, 1, count);
}

size_t Evaluation::batch_count() const {
  const auto full = static_cast<size_t>(shapes_[0].model->B());
  return (chosen_.size() + full - 1) / full;
}

template <class Body>
void Evaluation::for_each_batch(Ranks& ranks, Body body) {
  size_t number = 0;
  for (std::span<const int> rest = chosen_; !rest.empty(); ++number) {
    const Shape& shape =
        rest.size() >= static_cast<size_t>(shapes_[0].model->B()) ? shapes_[0] : shapes_.back();
    const size_t B = static_cast<size_t>(shape.model->B());
    if (number % static_cast<size_t>(ranks.size()) == static_cast<size_t>(ranks.rank())) {
      windows_.fill(rest.first(B), shape.ids, shape.targets);
      body(number, shape);
    }
    rest = rest.subspan(B);
  }
}

template <class Value, class Body>
void Evaluation::compute(Ranks& ranks, std::vector<Value>& values, Body body) {
  std::ranges::fill(values, Value{});
  bool interrupted = false;
  try {
    for_each_batch(ranks, body);
  } catch (const Interrupted&) {
    interrupted = true;
  }
  if (!ranks.are_many()) {
    if (interrupted) throw Interrupted();
    return;
  }
  const std::vector<std::string> all = ranks.gather_unless(
      interrupted,
      std::string(reinterpret_cast<const char*>(values.data()), sizeof(Value) * values.size()));
  for (size_t number = 0; number < values.size(); ++number)
    std::memcpy(&values[number], all[number % all.size()].data() + number * sizeof(Value),
                sizeof(Value));
}

LossSum Evaluation::run(const EvaluationObserver& observe, Ranks& ranks) {
  std::ranges::fill(loss_, 0.);
  int64_t tokens = 0;
  compute(ranks, sums_, [&](size_t number, const Shape& shape) {
    shape.model->clear_state();
    sums_[number] = shape.model->loss(shape.ids, shape.targets);
    const float* loss = shape.model->token_loss().data();
    for (double& sum : loss_)
      for (int b = 0; b < shape.model->B(); ++b) sum += *loss++;
    tokens += sums_[number].tokens;
    if (observe) observe(tokens);
  });
  LossSum total;
  for (const LossSum& sum : sums_) total += sum;
  return total;
}

double Evaluation::mean_loss_in_pieces(Ranks& ranks) {
  compute(ranks, losses_in_pieces_, [&](size_t number, const Shape& shape) {
    double& total = losses_in_pieces_[number];
    const int length = shape.piece->T(), last = windows_.T() - length;
    for (int begin = 0; begin < windows_.T(); begin += length) {
      const int first = std::min(begin, last);
      shape.piece->clear_state();
      shape.piece->loss(shape.ids.rows(first, first + length),
                        shape.targets.rows(first, first + length));
      const Tensor& losses = shape.piece->token_loss();
      const std::span<const float> loss(losses.data(), static_cast<size_t>(losses.count()));
      for (const float value :
           loss.subspan(static_cast<size_t>(begin - first) * static_cast<size_t>(shape.piece->B())))
        total += value;
    }
  });
  return std::accumulate(losses_in_pieces_.begin(), losses_in_pieces_.end(), 0.) /
         static_cast<double>(tokens());
}

int Evaluation::finite_tokens() const {
  return static_cast<int>(
      std::ranges::find_if_not(loss_, [](double loss) { return std::isfinite(loss); }) -
      loss_.begin());
}

LossSum stream_loss(const Config& config, int vocabulary, Parameters& parameters, uint64_t seed,
                    const Tokens& tokens, int T, const EvaluationObserver& observe,
                    Precision precision) {
  if (tokens.count() < 2)
    fail_usage("a text of {} characters predicts nothing; it must have at least 2", tokens.count());
  LossSum total;
  std::unique_ptr<Model> model;
  Arena arena;
  IntTensor ids, targets;
  for (int64_t begin = 0; begin + 1 < tokens.count();) {
    const int length = static_cast<int>(std::min<int64_t>(T, tokens.count() - 1 - begin));
    if (!model || model->T() != length) {  // at the beginning, and for the shorter rest at the end
      auto next = std::make_unique<Model>(with_carried_state(config), vocabulary, parameters,
                                          length, 1, Model::Mode::kInference, seed, precision);
      if (model) std::copy_n(model->state().data(), model->state().count(), next->state().data());
      model = std::move(next);
      arena = Arena::fitted([&](Arena& fitted) {
        for (IntTensor* tensor : {&ids, &targets}) *tensor = fitted.take<int32_t>({length, 1});
      });
    }
    tokens.read(begin, length, [&](int t, int32_t id) { ids.data()[t] = id; });
    tokens.read(begin + 1, length, [&](int t, int32_t id) { targets.data()[t] = id; });
    const LossSum sum = model->loss(ids, targets);
    if (!std::isfinite(sum.loss)) {
      const std::span<const float> loss(model->token_loss().data(), static_cast<size_t>(length));
      const auto first =
          std::ranges::find_if_not(loss, [](float value) { return std::isfinite(value); });
      return {.loss = sum.loss, .tokens = begin + (first - loss.begin())};
    }
    total += sum;
    begin += length;
    if (observe) observe(total.tokens);
  }
  return total;
}

std::string describe_overflow(int64_t tokens, int trained) {
  if (tokens == 0)
    return "the loss is not finite from the first token on: the weights cannot be used";
  const std::string where = fmt::format("the state left a float's range after {} tokens", tokens);
  if (trained == 0) return where;
  if (tokens < trained)
    return fmt::format("{}, within the {} of the training's windows: the weights cannot be used",
                       where, trained);
  return fmt::format("{}; the training's windows have {}, and for so many the model can be used",
                     where, trained);
}

}  // namespace mmrec
