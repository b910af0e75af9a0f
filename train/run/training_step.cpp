#include "train/run/training_step.h"

#include <algorithm>
#include <cmath>

#include "model/optimizer.h"
#include "runtime/threads.h"

namespace mmrec {

TrainingStep::TrainingStep(const Config& config, int vocabulary, Parameters& parameters, const WindowSet& windows, const Settings& settings)
    : windows_(windows),
      settings_(settings),
      parameters_(parameters),
      model_(config, vocabulary, parameters, windows.T(), settings.batch, Model::Mode::kTraining, settings.seed) {
  arena_ = Arena::fitted([&](Arena& arena) {
    for (IntTensor* tensor : {&ids_, &targets_}) *tensor = arena.take<int32_t>({windows.T(), settings.batch});
    if (settings.accumulate > 1) sum_ = arena.tensor({parameters.gradients().size(0)});
  });
}

LossSum TrainingStep::run(int64_t step, const Batch& batch) {
  model_.draw(static_cast<uint64_t>(step));
  const int shift = windows_.shift(settings_.seed, batch.epoch);
  LossSum total;
  for (int part = 0; part < settings_.accumulate && std::isfinite(total.loss); ++part) {
    windows_.fill(batch.windows.subspan(static_cast<size_t>(part) * settings_.batch, settings_.batch), ids_, targets_, shift);
    model_.clear_state();
    const auto masks = static_cast<uint64_t>((step - 1) * settings_.accumulate + part + 1);
    total += model_.loss_and_gradients(ids_, targets_, {.p = settings_.dropout, .seed = settings_.seed, .step = masks});
    if (settings_.accumulate > 1) average(part);
  }
  return total;
}

std::string TrainingStep::first_non_finite() const {
  if (const std::string name = mmrec::first_non_finite(parameters_, parameters_.weights()); !name.empty()) return "the weight " + name;
  if (const std::string name = model_.first_non_finite(); !name.empty()) return name;
  if (const std::string name = mmrec::first_non_finite(parameters_, parameters_.gradients()); !name.empty()) return "the gradient of " + name;
  return "the loss";
}

void TrainingStep::average(int part) {
  constexpr int64_t kChunk = 1 << 16;
  const int64_t count = sum_.count();
  const bool first = part == 0, last = part == settings_.accumulate - 1;
  const float scale = 1.f / static_cast<float>(settings_.accumulate);
  float* sum = sum_.data();
  float* gradient = parameters_.gradients().data();
  parallel_for(static_cast<int>((count + kChunk - 1) / kChunk), [&](int chunk) {
    const int64_t end = std::min(count, (chunk + 1) * kChunk);
    for (int64_t i = chunk * kChunk; i < end; ++i) {
      if (last)
        gradient[i] = scale * (sum[i] + gradient[i]);
      else
        sum[i] = first ? gradient[i] : sum[i] + gradient[i];
    }
  });
}

}  // namespace mmrec
