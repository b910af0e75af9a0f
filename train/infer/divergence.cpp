#include "train/infer/divergence.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "runtime/arena.h"
#include "runtime/threads.h"

namespace mmrec {

namespace {

constexpr int kPiece = 64;  // tokens a call of a model: its logits take memory

/// Returns the logarithm of the sum of the logits' exponentials.
double log_sum(std::span<const float> logits) {
  const double largest = *std::ranges::max_element(logits);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - largest);
  return largest + std::log(sum);
}

/// A model that reads windows piece by piece: whole pieces, then a shorter one.
class PieceReader {
 public:
  PieceReader(const Config& config, int vocabulary, uint64_t seed, const ComparedModel& compared,
              int window)
      : whole_(std::min(window, kPiece)) {
    for (const int length : {whole_, window % whole_})
      if (length > 0)
        models_.emplace_back(config, vocabulary, compared.parameters, length, 1,
                             Model::Mode::kInference, seed, compared.precision);
    arena_ = Arena::fitted([&](Arena& arena) { logits_ = arena.tensor({whole_, 1, vocabulary}); });
  }

  int whole() const { return whole_; }
  void begin() { models_.front().clear_state(); }
  /// Reads the next tokens, [length][1]. Returns the logits after each, [length][vocabulary].
  Tensor read(const IntTensor& ids) {
    Model& model = ids.size(0) == whole_ ? models_.front() : models_.back();
    if (&model != &models_.front()) copy_values(models_.front().state(), model.state());
    const Tensor logits = logits_.rows(0, ids.size(0));
    model.logits(ids, logits);
    return logits.reshape({ids.size(0), logits.size(2)});
  }

 private:
  const int whole_;
  std::vector<Model> models_;
  Arena arena_;
  Tensor logits_;
};

}  // namespace

Divergence divergence(std::span<const float> reference, std::span<const float> logits) {
  const double of_reference = log_sum(reference), of_logits = log_sum(logits);
  double nats = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    const double p = std::exp(reference[i] - of_reference);
    nats += p * ((static_cast<double>(reference[i]) - logits[i]) - (of_reference - of_logits));
  }
  const auto most_probable = [](std::span<const float> of) {
    return std::ranges::max_element(of) - of.begin();
  };
  return {.nats = nats,
          .agree = most_probable(reference) == most_probable(logits) ? 1. : 0.,
          .tokens = 1};
}

Divergence divergence(const Config& config, int vocabulary, uint64_t seed,
                      const ComparedModel& reference, const ComparedModel& model,
                      const Tokens& text, int window, const EvaluationObserver& observe) {
  PieceReader first(config, vocabulary, seed, reference, window),
      second(config, vocabulary, seed, model, window);
  std::vector<int32_t> ids(static_cast<size_t>(first.whole()));
  std::vector<Divergence> of_tokens(ids.size());
  Divergence total;
  for (int64_t begin = 0; begin + window < text.count(); begin += window) {
    first.begin();
    second.begin();
    for (int at = 0, length = 0; at < window; at += length) {
      length = std::min(first.whole(), window - at);
      text.read(begin + at, length, [&](int t, int32_t id) { ids[static_cast<size_t>(t)] = id; });
      const IntTensor piece(ids.data(), {length, 1});
      const Tensor wanted = first.read(piece), got = second.read(piece);
      parallel_for(length, [&](int t) {
        of_tokens[static_cast<size_t>(t)] =
            divergence(contiguous_span(wanted.at(t)), contiguous_span(got.at(t)));
      });
      for (int t = 0; t < length; ++t) total += of_tokens[static_cast<size_t>(t)];
      if (observe) observe(total.tokens);
    }
  }
  return total;
}

}  // namespace mmrec
