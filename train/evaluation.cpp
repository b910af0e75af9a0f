#include "train/evaluation.h"

#include <algorithm>
#include <numeric>

namespace mmrec {

namespace {
constexpr int kBatch = 8;  // windows
}

Evaluation::Evaluation(const Config& config, int vocabulary, Parameters& parameters, uint64_t memory_seed, WindowSet windows)
    : windows_(std::move(windows)), order_(windows_.count()) {
  std::iota(order_.begin(), order_.end(), 0);
  for (const int batch : {std::min(kBatch, windows_.count()), windows_.count() % kBatch})
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
  for (int begin = 0; begin < windows_.count();) {
    const Shape& shape = begin + shapes_[0].model->B() <= windows_.count() ? shapes_[0] : shapes_.back();
    windows_.fill(std::span(order_).subspan(begin, shape.model->B()), shape.ids, shape.targets);
    shape.model->clear_state();
    total += shape.model->loss(shape.ids, shape.targets, memory_);
    begin += shape.model->B();
  }
  return total;
}

}  // namespace mmrec
