#include "train/run/training_step.h"

#include <cmath>

#include "model/optimizer.h"

namespace mmrec {

TrainingStep::TrainingStep(const Config& config, int vocabulary, Parameters& parameters,
                           const WindowSet& windows, const Settings& settings)
    : context_(Context::current()),
      windows_(windows),
      settings_(settings),
      parameters_(parameters),
      model_(config, vocabulary, parameters, windows.T(), settings.batch,
             training_mode(settings.recompute), settings.seed) {
  arena_ = Arena::fitted([&](Arena& arena) {
    for (IntTensor* tensor : {&ids_, &targets_})
      *tensor = arena.take<int32_t>({windows.T(), settings.batch});
  });
}

LossSum TrainingStep::run(int64_t step, const Batch& batch) {
  const Context::Use use(context_);
  model_.draw(static_cast<uint64_t>(step));
  parameters_.clear_gradients();
  const int shift = windows_.shift(settings_.seed, batch.epoch);
  LossSum total;
  for (int part = 0; part < settings_.accumulate && std::isfinite(total.loss + total.auxiliary);
       ++part) {
    windows_.fill(
        batch.windows.subspan(static_cast<size_t>(part) * settings_.batch, settings_.batch), ids_,
        targets_, shift);
    model_.clear_state();
    const auto masks = static_cast<uint64_t>((step - 1) * settings_.accumulate + part + 1);
    total += model_.loss_and_gradients(
        ids_, targets_, {.p = settings_.dropout, .seed = settings_.seed, .step = masks},
        1.f / static_cast<float>(settings_.accumulate));
  }
  return total;
}

std::string TrainingStep::first_non_finite() {
  if (const std::string name = mmrec::first_non_finite(parameters_, parameters_.weights());
      !name.empty())
    return "the weight " + name;
  if (const std::string name = model_.first_non_finite(); !name.empty()) return name;
  if (const std::string name = mmrec::first_non_finite(parameters_, parameters_.gradients());
      !name.empty())
    return "the gradient of " + name;
  return "the loss";
}

}  // namespace mmrec
