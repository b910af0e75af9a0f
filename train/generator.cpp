#include "train/generator.h"

#include <algorithm>
#include <cmath>

#include "runtime/rng.h"

namespace mmrec {

Generator::Generator(const Config& config, int vocabulary, Parameters& parameters, uint64_t memory_seed, const Sampling& sampling)
    : sampling_(sampling), model_(config, vocabulary, parameters, 1, 1, Model::Mode::kInference), weights_(vocabulary) {
  arena_ = Arena::fitted([&](Arena& arena) {
    memory_ = allocate_memory(config, arena);
    id_ = arena.take<int32_t>({1, 1});
    logits_ = arena.tensor({1, 1, vocabulary});
  });
  draw_memory(memory_seed, 0, memory_);
}

Tensor Generator::read(int32_t id) {
  id_.data()[0] = id;
  model_.logits(id_, memory_, logits_);
  return logits_.reshape({logits_.size(2)});
}

int32_t Generator::choose() {
  const float* begin = logits_.data();
  const float* end = begin + logits_.count();
  const float* largest = std::max_element(begin, end);
  if (sampling_.greedy) return static_cast<int32_t>(largest - begin);
  double sum = 0;
  for (size_t v = 0; v < weights_.size(); ++v) sum += weights_[v] = std::exp((begin[v] - *largest) / sampling_.temperature);
  double rest = sum * Philox(sampling_.seed, rng_stream(Stream::kSampling, 0)).uniform(draws_++);
  for (size_t v = 0; v < weights_.size(); ++v) {
    rest -= weights_[v];
    if (rest < 0) return static_cast<int32_t>(v);
  }
  return static_cast<int32_t>(largest - begin);  // rounding left nothing of the sum
}

}  // namespace mmrec
