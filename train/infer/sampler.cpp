#include "train/infer/sampler.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "support/error.h"
#include "train/data/tokenizer.h"
#include "train/infer/sampling_json.h"

namespace mmrec {

namespace {
constexpr int32_t kFirstCharacter = Tokenizer::kPadding + 1;

const SamplingOption kOptions[] = {
    {"temperature",
     &Sampling::temperature,
     "below 1: more probable text, above: more varied; 0: as --greedy",
     {.at_least = 0}},
    {"top-k",
     &Sampling::top_k,
     "choose among the k most probable tokens only, 0: among all",
     {.at_least = 0}},
    {"top-p",
     &Sampling::top_p,
     "choose among the most probable tokens that together have this probability",
     {.more_than = 0, .at_most = 1}},
    {"min-p",
     &Sampling::min_p,
     "choose among the tokens that have at least this part of the likeliest one's probability",
     {.at_least = 0, .at_most = 1}},
    {"repetition-penalty",
     &Sampling::repetition_penalty,
     "above 1: tokens that were used lately become less probable",
     {.more_than = 0}},
    {"repetition-window",
     &Sampling::repetition_window,
     "how many of the last tokens were used lately",
     {.at_least = 0, .at_most = 1e6}},
    {"greedy", &Sampling::greedy, "always the most probable token"},
};
}  // namespace

std::span<const SamplingOption> sampling_options() { return kOptions; }

nlohmann::ordered_json to_json(const Sampling& sampling) {
  nlohmann::ordered_json json;
  for (const SamplingOption& option : kOptions) {
    std::string name = option.name;
    std::ranges::replace(name, '-', '_');
    std::visit([&](auto member) { json[name] = sampling.*member; }, option.member);
  }
  json["seed"] = sampling.seed;
  return json;
}

int32_t Sampler::choose(std::span<const float> logits, std::span<const int32_t> recent,
                        double random) {
  candidates_.clear();
  for (int32_t id = kFirstCharacter; id < static_cast<int32_t>(logits.size()); ++id) {
    if (!std::isfinite(logits[id]))
      fail("the model's logit of token {} is {}: its weights cannot be used", id, logits[id]);
    candidates_.push_back({logits[id], id});
  }
  if (candidates_.empty()) fail("the tokenizer has no characters to generate");
  penalise(recent);
  const Token likeliest = *std::ranges::max_element(candidates_, {}, &Token::value);
  if (sampling_.is_greedy()) return likeliest.id;
  keep_top_k();
  for (Token& candidate : candidates_)
    candidate.value = std::exp((candidate.value - likeliest.value) / sampling_.temperature);
  keep_top_p();
  keep_min_p();

  double rest = 0;
  for (const Token& candidate : candidates_) rest += candidate.value;
  rest *= random;
  for (const Token& candidate : candidates_) {
    rest -= candidate.value;
    if (rest < 0) return candidate.id;
  }
  return likeliest.id;  // rounding made the sum too large
}

void Sampler::penalise(std::span<const int32_t> recent) {
  if (sampling_.repetition_penalty == 1) return;
  for (Token& candidate : candidates_)
    if (std::ranges::find(recent, candidate.id) != recent.end())
      candidate.value = candidate.value > 0 ? candidate.value / sampling_.repetition_penalty
                                            : candidate.value * sampling_.repetition_penalty;
}

void Sampler::keep_top_k() {
  const auto k = static_cast<size_t>(sampling_.top_k);
  if (k == 0 || k >= candidates_.size()) return;
  std::ranges::nth_element(candidates_, candidates_.begin() + static_cast<int64_t>(k),
                           std::greater(), &Token::value);
  candidates_.resize(k);
}

void Sampler::keep_top_p() {
  if (sampling_.top_p == 1) return;
  std::ranges::sort(candidates_, std::greater(), &Token::value);
  double rest = 0;
  for (const Token& candidate : candidates_) rest += candidate.value;
  rest *= sampling_.top_p;
  size_t kept = 0;
  while (kept < candidates_.size() && rest > 0) rest -= candidates_[kept++].value;
  candidates_.resize(std::max<size_t>(kept, 1));
}

void Sampler::keep_min_p() {
  // the likeliest token's weight is 1
  std::erase_if(candidates_,
                [&](const Token& candidate) { return candidate.value < sampling_.min_p; });
}

}  // namespace mmrec
