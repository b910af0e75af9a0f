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
    if (settings.streams == 0) return;
    const int layers = model_.state().size(0), width = model_.state().size(2);
    states_ = arena.tensor({layers, settings.streams, width});
    next_states_ = arena.tensor({layers, settings.batch * settings.accumulate, width});
  });
}

LossSum TrainingStep::run(int64_t step, const Batch& batch) {
  const Context::Use use(context_);
  model_.draw(static_cast<uint64_t>(step));
  parameters_.clear_gradients();
  const int shift = windows_.shift(settings_.seed, batch.epoch);
  LossSum total;
  for (int part = 0; part < settings_.accumulate && total.is_finite(); ++part) {
    windows_.fill(
        batch.windows.subspan(static_cast<size_t>(part) * settings_.batch, settings_.batch), ids_,
        targets_, shift);
    load_states(part, batch);
    const auto masks = static_cast<uint64_t>((step - 1) * settings_.accumulate + part + 1);
    total += model_.loss_and_gradients(
        ids_, targets_, {.p = settings_.dropout, .seed = settings_.seed, .step = masks},
        1.f / static_cast<float>(settings_.accumulate));
    store_states(part);
  }
  return total;
}

void TrainingStep::load_states(int part, const Batch& batch) {
  model_.clear_state();
  if (batch.begins.empty()) return;
  for (int layer = 0; layer < states_.size(0); ++layer)
    for (int b = 0; b < settings_.batch; ++b) {
      const int row = part * settings_.batch + b;
      if (batch.begins[row]) continue;
      copy_values(states_.at(layer).at(batch.first_stream + row), model_.state().at(layer).at(b));
    }
}

void TrainingStep::store_states(int part) {
  if (settings_.streams == 0) return;
  const int first = part * settings_.batch;
  copy_values(model_.state(), next_states_.slice(1, first, first + settings_.batch));
}

void TrainingStep::keep_states(const Batch& batch) {
  if (settings_.streams == 0) return;
  copy_values(next_states_,
              states_.slice(1, batch.first_stream, batch.first_stream + next_states_.size(1)));
}

std::string TrainingStep::first_non_finite() {
  if (const std::string name = mmrec::first_non_finite(parameters_, parameters_.weights());
      !name.empty())
    return "the weight " + name;
  if (const std::string name = model_.first_non_finite(); !name.empty()) return name;
  if (const std::string name = mmrec::first_non_finite(parameters_, parameters_.gradients());
      !name.empty())
    return "the gradient of " + name;
  return "the sum of the losses or of the gradients' squares";
}

}  // namespace mmrec
