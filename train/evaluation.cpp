#include "train/evaluation.h"

#include <algorithm>
#include <span>

namespace mmrec {

namespace {
constexpr int kBatch = 8;  // windows
}

Evaluation::Evaluation(const Config& config, int vocabulary, Parameters& parameters, uint64_t memory_seed, WindowSet windows, int64_t most_tokens)
    : windows_(std::move(windows)) {
  const int64_t most = most_tokens == 0 ? windows_.count() : std::clamp<int64_t>(most_tokens / windows_.T(), 1, windows_.count());
  for (int64_t i = 0; i < most; ++i) chosen_.push_back(static_cast<int>(i * windows_.count() / most));
  const int count = static_cast<int>(most);
  for (const int batch : {std::min(kBatch, count), count % kBatch})
    if (batch > 0) shapes_.push_back({std::make_unique<Model>(config, vocabulary, parameters, windows_.T(), batch, Model::Mode::kInference), {}, {}});
  arena_ = Arena::fitted([&](Arena& arena) {
    memory_ = allocate_memory(config, arena);
    for (Shape& shape : shapes_)
      for (IntTensor* tensor : {&shape.ids, &shape.targets}) *tensor = arena.take<int32_t>({windows_.T(), shape.model->B()});
  });
  draw_memory(memory_seed, 0, memory_);
}

size_t Evaluation::bytes(const Config& config, int T) { return 2 * model_bytes(config, T, kBatch, Model::Mode::kInference); }

LossSum Evaluation::run() {
  LossSum total;
  for (std::span<const int> rest = chosen_; !rest.empty();) {
    const Shape& shape = rest.size() >= static_cast<size_t>(shapes_[0].model->B()) ? shapes_[0] : shapes_.back();
    const size_t B = static_cast<size_t>(shape.model->B());
    windows_.fill(rest.first(B), shape.ids, shape.targets);
    shape.model->clear_state();
    total += shape.model->loss(shape.ids, shape.targets, memory_);
    rest = rest.subspan(B);
  }
  return total;
}

}  // namespace mmrec
