#include "bench/workloads/workloads.h"
#include "model/model.h"
#include "model/optimizer.h"

namespace mmrec::bench {

namespace {

struct Batch {
  const char* preset;
  int B, T;
};
constexpr Batch kBatches[] = {
    {"tiny", 2, 256}, {"tiny", 6, 128}, {"tiny", 4, 512}, {"mini", 2, 256}};

/// A training run that repeats its step on the same batch.
struct Training {
  Training(const Config& config, int B, int T, uint64_t seed, const IntTensor& ids,
           const IntTensor& targets)
      : parameters(config),
        model(config, config.vocab_size, parameters, T, B, Model::Mode::kTraining, seed,
              precision()),
        seed(seed),
        ids(ids),
        targets(targets) {
    parameters.initialise(seed);
  }

  void step() {
    ++steps;
    model.draw(steps);
    model.clear_state();
    parameters.clear_gradients();
    model.loss_and_gradients(ids, targets, {.p = 0.1f, .seed = seed, .step = steps});
    optimizer_step(parameters, {}, 3e-4, static_cast<int64_t>(steps));
  }

  Parameters parameters;
  Model model;
  uint64_t seed, steps = 0;
  IntTensor ids, targets;
};

}  // namespace

Workload train_workload(const Config& config, const std::string& name, int B, int T) {
  return {.op = "train",
          .pass = {"", "step", name},
          .sizes = {B, T},
          .flops = static_cast<double>(B) * T * training_flops(config, T),
          // The optimiser's share: weights and both moments, read and written.
          .bytes = 24. * static_cast<double>(parameter_count(parameter_table(config))),
          .tokens = 1. * B * T,
          .prepare = [=](Operands& o) -> Invocation {
            const IntTensor ids = o.ids(B * T, config.vocab_size).reshape({T, B}),
                            targets = o.ids(B * T, config.vocab_size).reshape({T, B});
            if (!ids.data()) return {};
            const auto training = std::make_shared<Training>(config, B, T, o.seed(), ids, targets);
            return {.run = [training] { training->step(); }};
          }};
}

void add_train(Cases& cases) {
  for (const Batch& batch : kBatches)
    for (const Precision precision : precisions()) {
      if (precision == Precision::kInt8) continue;  // only what has been trained
      Workload work = train_workload(preset(batch.preset), batch.preset, batch.B, batch.T);
      work.precision = precision;
      cases.add(work, "");
    }
}

}  // namespace mmrec::bench
