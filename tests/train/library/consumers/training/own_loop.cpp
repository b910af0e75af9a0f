// A program that trains a model on its own tokens, which are no text, in a loop of its own.
#include <mmrec/kernels.h>
#include <mmrec/model.h>

#include <cmath>
#include <cstdio>
#include <vector>

int main() try {
  const int T = 32, B = 4, notes = 12;
  mmrec::Config config;
  config.vocab_size = 16;
  config.dim = 32;
  config.layers = 2;
  config.heads = 2;
  config.mem_slots = 64;
  mmrec::check_config(config);
  mmrec::Parameters parameters(config);
  parameters.initialise(42);
  mmrec::Model model(config, notes, parameters, T, B, mmrec::Model::Mode::kTraining, 42);
  const mmrec::OptimizerSettings settings{.learning_rate = 1e-2f};

  std::vector<int32_t> ids(T * B), targets(T * B);  // time-major, [T][B]
  const auto note = [](int64_t i) { return static_cast<int32_t>((i * i + i / 3) % notes); };
  double first = 0, last = 0;
  for (int64_t step = 1; step <= 60; ++step) {
    for (int t = 0; t < T; ++t)
      for (int b = 0; b < B; ++b) {
        const int64_t i = (step * B + b) * T + t;
        ids[t * B + b] = note(i);
        targets[t * B + b] = note(i + 1);
      }
    parameters.clear_gradients();
    model.clear_state();
    model.draw(static_cast<uint64_t>(step));
    const mmrec::LossSum loss = model.loss_and_gradients(
        {ids.data(), {T, B}}, {targets.data(), {T, B}}, {.p = 0.f, .seed = 42});
    mmrec::optimizer_step(parameters, settings, settings.learning_rate, step);
    last = loss.mean_loss();
    if (step == 1) first = last;
  }
  std::printf("own loop: loss %.3f, then %.3f\n", first, last);
  return std::abs(first - std::log(notes)) < 0.5 && last < 0.7 * first ? 0 : 1;
} catch (const mmrec::Error& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
