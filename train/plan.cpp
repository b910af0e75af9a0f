#include "train/plan.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <vector>

#include "model/model.h"
#include "runtime/cpu_info.h"
#include "runtime/error.h"
#include "runtime/ops/gemm.h"
#include "runtime/threads.h"
#include "train/evaluation.h"
#include "train/prepared_data.h"
#include "train/run_data.h"
#include "train/run_log.h"
#include "train/windows.h"

namespace mmrec {

namespace {

/// What a training step reaches of the rate of large matrix products (measured for tiny and mini; see docs/performance.md).
constexpr double kStepShare = 0.75;

/// Parameters of the parts that this version has no kernels for: DPG's low-rank decay, UBOO's two planning networks.
int64_t planned_parameters(const Config& c) {
  const int64_t D = c.dim, dpg = c.dpg ? 2 * c.dpg_rank * D : 0, uboo = c.uboo ? 4 * D * D : 0;
  return c.layers * (dpg + uboo);
}

/// Operations a second of the best of many products of 512 x 512 x 512.
double product_rate() {
  using Clock = std::chrono::steady_clock;
  constexpr int kSize = 512;
  constexpr double kSeconds = 0.25;
  std::vector<float> room(3 * kSize * kSize, 0.5f);
  const auto matrix = [&](int i) { return Tensor(room.data() + i * kSize * kSize, {kSize, kSize}); };
  const auto since = [](Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); };
  double best = 1e30;
  for (const Clock::time_point start = Clock::now(); since(start) < kSeconds;) {
    const Clock::time_point begin = Clock::now();
    ops::gemm_nt(matrix(0), matrix(1), matrix(2));
    best = std::min(best, since(begin));
  }
  return 2. * kSize * kSize * kSize / best;
}

std::string gigabytes(double bytes) { return bytes < 1e9 ? fmt::format("{:.1f} MB", bytes / 1e6) : fmt::format("{:.1f} GB", bytes / 1e9); }

std::string thousands(int64_t number) {
  std::string text = std::to_string(number);
  for (ptrdiff_t place = std::ssize(text) - 3; place > 0; place -= 3) text.insert(static_cast<size_t>(place), ",");
  return text;
}

std::string tokens_rate(double rate) { return rate < 100 ? fmt::format("{:.3g}", rate) : thousands(std::llround(rate)); }

}  // namespace

std::string plan(const TrainOptions& options) {
  check_options(options);
  const RunData data = load_data(options, std::nullopt);
  Config config = options.config;
  config.vocab_size = options.vocabulary == 0 ? padded_vocabulary(data.tokenizer.size()) : options.vocabulary;
  check_sizes(config);

  std::string text;
  const auto line = [&](std::string_view what, std::string_view value, std::string_view note = "") {
    text += fmt::format("{:<24}{:>16}{}{}\n", what, value, note.empty() ? "" : "   ", note);
  };
  const std::vector<Parameter> table = parameter_table(config);
  const int64_t parameters = parameter_count(table) + planned_parameters(config), embedding = table.front().count;
  line("model", fmt::format("dim {}", config.dim),
       fmt::format("{} layers, {} heads, vocabulary {}{}{}", config.layers, config.heads, config.vocab_size, config.dpg ? ", DPG" : "",
                   config.uboo ? ", UBOO" : ""));
  line("parameters", thousands(parameters),
       fmt::format("{} in the embedding, {} a block", thousands(embedding), thousands((parameters - embedding - config.dim) / config.layers)));

  const bool prepared = is_prepared(options.data);
  const double weights = 4. * static_cast<double>(parameters);
  const int window = validation_window(options, data.validation.count());
  const double activations = static_cast<double>(model_bytes(config, options.sequence, options.batch, Model::Mode::kTraining)),
               validation = window > 0 ? static_cast<double>(Evaluation::bytes(config, window)) : 0,
               accumulated = options.accumulate > 1 ? weights : 0,
               tokens = prepared ? 0 : 4. * static_cast<double>(data.train.count() + data.validation.count()),
               memory = 4 * weights + accumulated + activations + validation + tokens,
               machine = static_cast<double>(::sysconf(_SC_PHYS_PAGES)) * static_cast<double>(::sysconf(_SC_PAGESIZE));
  text += "\nmemory\n";
  line("  weights", gigabytes(weights));
  line("  gradients", gigabytes(weights));
  line("  AdamW's moments", gigabytes(2 * weights));
  if (accumulated > 0) line("  summed gradients", gigabytes(accumulated), fmt::format("--accumulate {}", options.accumulate));
  line("  activations", gigabytes(activations), fmt::format("{} x {} tokens at once", options.batch, options.sequence));
  line("  validation", gigabytes(validation));
  line("  text", prepared ? "mapped" : gigabytes(tokens));
  line("  in all", gigabytes(memory),
       fmt::format("of the {} of this machine{}", gigabytes(machine),
                   memory > machine ? ": it does not fit; a smaller --batch with --accumulate, or a smaller model" : ""));
  const double checkpoint = 3 * weights;
  line("disk", gigabytes((options.keep + 2) * checkpoint),
       fmt::format("{} checkpoints of {}: --keep {}, the best, the final one", options.keep + 2, gigabytes(checkpoint), options.keep));

  const double flops = training_flops(config, 1), rate = product_rate(), speed = kStepShare * rate / flops;
  text += "\nspeed\n";
  line("  operations a token", fmt::format("{:.4g} MFLOP", flops / 1e6), "forward and backward");
  line("  matrix products", fmt::format("{:.0f} GFLOP/s", rate / 1e9), fmt::format("measured now: {}, {} threads", cpu_name(), num_threads()));
  line("  to expect", fmt::format("{} tokens/s", tokens_rate(speed)),
       fmt::format("at {:.0f} % of that rate; all of it would be {}", 100 * kStepShare, tokens_rate(rate / flops)));

  const WindowSet windows(data.train, options.sequence, "the training text");
  const BatchOrder order(windows.count(), options.batch * options.accumulate, options.seed);
  const int64_t steps = total_steps(options, order.steps_per_epoch());
  const int64_t step_tokens = int64_t{options.batch} * options.accumulate * options.sequence;
  text += "\nrun\n";
  line("  data", options.data, fmt::format("{} characters and {} for validation", thousands(data.train.count()), thousands(data.validation.count())));
  line("  steps", thousands(steps), fmt::format("of {} tokens, {} an epoch", thousands(step_tokens), thousands(order.steps_per_epoch())));
  line("  tokens", thousands(steps * step_tokens));
  line("  time", format_duration(static_cast<double>(steps * step_tokens) / speed), "without validation and checkpoints");
  if (!data.unknown.empty()) text += "\n" + data.unknown + "\n";
  return text;
}

}  // namespace mmrec
