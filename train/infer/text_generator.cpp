#include "train/infer/text_generator.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "runtime/rng.h"
#include "support/error.h"
#include "train/infer/evaluation.h"

namespace mmrec {

namespace {

constexpr int kWindow = 64;  // tokens of the prompt read in one call

/// Copies the state of the first sequence to all sequences of another model.
void copy_state(const Model& from, const Model& to) {
  const int64_t D = from.state().size(2);
  for (int layer = 0; layer < from.state().size(0); ++layer)
    for (int b = 0; b < to.B(); ++b)
      std::copy_n(from.state().at(layer).data(), D, to.state().at(layer).data() + b * D);
}

}  // namespace

std::vector<int32_t> neutral_prompt(const Tokenizer& tokenizer) {
  return tokenizer.encode("\n", "the beginning");
}

TextGenerator::TextGenerator(const Config& config, int vocabulary, Parameters& parameters,
                             uint64_t seed, const Sampling& sampling, int samples,
                             int trained_window, Precision precision)
    : sampling_(sampling),
      sampler_(sampling),
      window_(with_carried_state(config), vocabulary, parameters, kWindow, 1,
              Model::Mode::kInference, seed, precision),
      token_(samples == 1
                 ? nullptr
                 : std::make_unique<Model>(with_carried_state(config), vocabulary, parameters, 1, 1,
                                           Model::Mode::kInference, seed, precision)),
      model_(with_carried_state(config), vocabulary, parameters, 1, samples,
             Model::Mode::kGenerating, seed, precision),
      recent_(samples),
      chosen_(samples),
      trained_window_(trained_window) {
  arena_ = Arena::fitted([&](Arena& arena) {
    window_ids_ = arena.take<int32_t>({kWindow, 1});
    ids_ = arena.take<int32_t>({1, samples});
    logits_ = arena.tensor({1, samples, vocabulary});
  });
}

size_t TextGenerator::bytes(const Config& config, int samples, Precision precision) {
  const auto model = [&](int T, int B, Model::Mode mode) {
    return model_bytes(with_carried_state(config), T, B, mode, precision);
  };
  return model(kWindow, 1, Model::Mode::kInference) +
         (samples == 1 ? 0 : model(1, 1, Model::Mode::kInference)) +
         model(1, samples, Model::Mode::kGenerating);
}

void TextGenerator::go_on(const TextState& state) {
  const Tensor& begin = window_.state();
  if (state.layers != begin.size(0) || state.width != begin.size(2))
    fail("the state is one of {} layers and {} numbers a layer, and the model has {} and {}",
         state.layers, state.width, begin.size(0), begin.size(2));
  std::ranges::copy(state.values, begin.data());
  copy_state(window_, model_);
  for (size_t b = 0; b < recent_.size(); ++b) {
    recent_[b].clear();
    remember(b, state.recent);
  }
  tokens_ = state.tokens;
  draws_ = state.draws;
}

TextState TextGenerator::state() const {
  const Tensor& all = model_.state();
  TextState state{.layers = all.size(0),
                  .width = all.size(2),
                  .recent = recent_[0],
                  .tokens = tokens_,
                  .draws = draws_};
  for (int layer = 0; layer < state.layers; ++layer)
    state.values.insert(state.values.end(), all.at(layer).data(),
                        all.at(layer).data() + state.width);
  return state;
}

void TextGenerator::remember(size_t sample, std::span<const int32_t> ids) {
  std::vector<int32_t>& recent = recent_[sample];
  const auto most = static_cast<size_t>(sampling_.repetition_window);
  ids = ids.last(std::min(most, ids.size()));
  recent.insert(recent.end(), ids.begin(), ids.end());
  if (recent.size() > most)
    recent.erase(recent.begin(), recent.end() - static_cast<ptrdiff_t>(most));
}

void TextGenerator::advance(std::span<const int32_t> ids) {
  copy_state(model_, window_);
  std::span<const int32_t> rest_ids = ids;
  for (; rest_ids.size() >= kWindow; rest_ids = rest_ids.subspan(kWindow)) {
    std::ranges::copy(rest_ids.first(kWindow), window_ids_.data());
    window_.read(window_ids_);
  }
  Model& rest = token_ ? *token_ : model_;
  copy_state(window_, rest);
  for (const int32_t id : rest_ids) {
    ids_.data()[0] = id;
    rest.read(IntTensor(ids_.data(), {1, 1}));
  }
  if (token_) copy_state(*token_, model_);
  tokens_ += std::ssize(ids);
  for (size_t b = 0; b < recent_.size(); ++b) remember(b, ids);
}

void TextGenerator::read_prompt(std::span<const int32_t> ids) {
  if (ids.empty()) fail_usage("there must be at least one character to continue");
  advance(ids.first(ids.size() - 1));
  read(std::vector<int32_t>(recent_.size(), ids.back()));
}

void TextGenerator::read_to(std::span<const int32_t> ids, const Tensor& logits) {
  if (ids.size() != recent_.size())
    fail_usage("{} tokens for {} samples", ids.size(), recent_.size());
  std::ranges::copy(ids, ids_.data());
  model_.logits(ids_, logits);
  if (!std::ranges::all_of(contiguous_span(logits), [](float l) { return std::isfinite(l); }))
    fail("{}", describe_overflow(tokens_, trained_window_));
  ++tokens_;
  for (size_t b = 0; b < ids.size(); ++b) remember(b, ids.subspan(b, 1));
}

Tensor TextGenerator::read(std::span<const int32_t> ids) {
  read_to(ids, logits_);
  return logits_.reshape({logits_.size(1), logits_.size(2)});
}

void TextGenerator::read(int32_t id, std::span<float> logits) {
  read_to({&id, 1}, Tensor(logits.data(), {1, 1, static_cast<int>(logits.size())}));
}

std::span<const int32_t> TextGenerator::choose() {
  const auto vocabulary = static_cast<size_t>(logits_.size(2));
  for (size_t b = 0; b < chosen_.size(); ++b)
    chosen_[b] =
        sampler_.choose({logits_.data() + b * vocabulary, vocabulary}, recent_[b],
                        Philox(sampling_.seed, rng_stream(Stream::kSampling, b)).uniform(draws_));
  ++draws_;
  return chosen_;
}

}  // namespace mmrec
