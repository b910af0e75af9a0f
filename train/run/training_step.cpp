#include "train/run/training_step.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>

#include "model/optimizer.h"
#include "runtime/threads.h"

namespace mmrec {

TrainingStep::TrainingStep(const Config& config, int vocabulary, Parameters& parameters,
                           const WindowSet& windows, const Settings& settings, Ranks& ranks)
    : context_(Context::current()),
      windows_(windows),
      settings_(settings),
      ranks_(ranks),
      parameters_(parameters),
      gradient_sum_(parameters.gradients(), backward_order(parameters.table()), settings.accumulate,
                    settings.order, ranks),
      sums_(static_cast<size_t>(settings.accumulate)),
      model_(config, vocabulary, parameters, windows.T(), settings.batch,
             training_mode(settings.recompute), settings.seed, settings.precision) {
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
  std::ranges::fill(sums_, LossSum{});
  const int shift = windows_.shift(settings_.seed, batch.epoch);
  bool interrupted = false;
  try {
    model_.draw(static_cast<uint64_t>(step));
    parameters_.clear_gradients();
    const auto compute = [&](int part, const GradientSum::ChunksDone& done) {
      this->compute(part, step, batch, shift, done);
    };
    gradient_sum_.compute(std::ref(compute));
  } catch (const Interrupted&) {
    interrupted = true;
  }
  gradient_sum_.finish();  // the others may have sent theirs
  gather_sums(interrupted);
  LossSum total;
  for (const LossSum& sum : sums_) total += sum;
  return total;
}

void TrainingStep::compute(int part, int64_t step, const Batch& batch, int shift,
                           const GradientSum::ChunksDone& done) {
  const auto is_finite = [](const LossSum& sum) { return sum.is_finite(); };
  if (!std::ranges::all_of(sums_, is_finite)) return;
  windows_.fill(batch.windows.subspan(static_cast<size_t>(part) * settings_.batch, settings_.batch),
                ids_, targets_, shift);
  load_states(part, batch);
  const auto masks = static_cast<uint64_t>((step - 1) * settings_.accumulate + part + 1);
  sums_[static_cast<size_t>(part)] = model_.loss_and_gradients(
      ids_, targets_, {.p = settings_.dropout, .seed = settings_.seed, .step = masks},
      1.f / static_cast<float>(settings_.accumulate),
      [&](int layer) { done(model_.state().size(0) - layer); });
  store_states(part);
}

void TrainingStep::gather_sums(bool interrupted) {
  if (!ranks_.are_many()) {
    if (interrupted) throw Interrupted();
    return;
  }
  const PartRange mine = gradient_sum_.mine();
  const std::string own(reinterpret_cast<const char*>(sums_.data() + mine.begin),
                        sizeof(LossSum) * static_cast<size_t>(mine.count()));
  LossSum* next = sums_.data();
  for (const std::string& theirs : ranks_.gather_unless(interrupted, own)) {
    std::memcpy(next, theirs.data(), theirs.size());
    next += theirs.size() / sizeof(LossSum);
  }
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

void TrainingStep::gather_states() {
  if (!ranks_.are_many()) return;
  const PartRange mine = gradient_sum_.mine();
  const int layers = next_states_.size(0);
  std::string bytes;
  const auto rows = [&](int layer, const PartRange& parts) {
    return next_states_.at(layer).rows(parts.begin * settings_.batch, parts.end * settings_.batch);
  };
  for (int layer = 0; layer < layers; ++layer) {
    const Tensor own = rows(layer, mine);
    bytes.append(reinterpret_cast<const char*>(own.data()),
                 sizeof(float) * static_cast<size_t>(own.count()));
  }
  const std::vector<std::string> all = ranks_.gather(bytes);
  for (int rank = 0; rank < ranks_.size(); ++rank) {
    const char* from = all[static_cast<size_t>(rank)].data();
    for (int layer = 0; layer < layers; ++layer) {
      const Tensor theirs = rows(layer, parts_of_rank(settings_.accumulate, rank, ranks_.size()));
      const size_t count = sizeof(float) * static_cast<size_t>(theirs.count());
      std::memcpy(theirs.data(), from, count);
      from += count;
    }
  }
}

void TrainingStep::keep_states(const Batch& batch) {
  if (settings_.streams == 0) return;
  gather_states();
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
