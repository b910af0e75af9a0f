#include "train/run/plan.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "model/architecture.h"
#include "model/blocks/feed_forward.h"
#include "model/config_file.h"
#include "model/model.h"
#include "runtime/cgroup_limits.h"
#include "runtime/cpu_info.h"
#include "runtime/kernel_registry.h"
#include "runtime/ops/gemm.h"
#include "runtime/threads.h"
#include "support/counted.h"
#include "support/error.h"
#include "support/names.h"
#include "support/stopwatch.h"
#include "train/data/prepared_data.h"
#include "train/data/windows.h"
#include "train/infer/evaluation.h"
#include "train/infer/text_generator.h"
#include "train/ranks/gradient_sum.h"
#include "train/run/data.h"
#include "train/run/learning_rate.h"
#include "train/run/log.h"
#include "train/run/phases.h"
#include "train/run/precision.h"
#include "train/run/recipe.h"
#include "train/run/start.h"

namespace mmrec {

namespace {

/// Ratio of a training step's rate to the rate of large matrix products, in float32; measured for
/// tiny and mini.
constexpr double kStepShare = 0.75;

/// Returns the bytes of the program itself: code, threads, and the kernels' temporary arrays, of
/// which the largest are half of the embedding, packed, and, in some schedules, two hidden
/// activations of the feed-forward half for each shape of a batch. The constant is measured.
double program_bytes(const Config& config, int64_t tokens_at_once) {
  constexpr double kCode = 24e6;
  const double embedding = 4. * config.vocab_size * config.dim;
  return kCode + embedding / 2 +
         2 * 4. * static_cast<double>(tokens_at_once) * ffn_width(config.dim);
}

/// Measures the FLOP/s of 512 x 512 x 512 matrix products: the best of many.
double measure_product_rate(Precision precision) {
  const ScopedPrecision use(precision);
  constexpr int kSize = 512;
  constexpr double kSeconds = 0.25;
  std::vector<float> room(3 * kSize * kSize, 0.5f);
  const auto matrix = [&](int i) {
    return Tensor(room.data() + i * kSize * kSize, {kSize, kSize});
  };
  double best = 1e30;
  for (const Stopwatch all; all.seconds() < kSeconds;) {
    const Stopwatch one;
    ops::gemm_nt(matrix(0), matrix(1), matrix(2));
    best = std::min(best, one.seconds());
  }
  return 2. * kSize * kSize * kSize / best;
}

/// What is beside the products takes as long in every precision.
Rates measure_rates(Precision precision) {
  const double float32 = measure_product_rate(Precision::kFloat32),
               products =
                   precision == Precision::kFloat32 ? float32 : measure_product_rate(precision),
               rest = (1 / kStepShare - 1) / float32;
  return {
      .products = products, .step = 1 / (1 / products + rest), .optimizer = kStepShare * float32};
}

std::string gigabytes(double bytes) {
  return bytes < 1e9 ? fmt::format("{:.1f} MB", bytes / 1e6)
                     : fmt::format("{:.1f} GB", bytes / 1e9);
}

std::string thousands(int64_t number) {
  std::string text = std::to_string(number);
  for (ptrdiff_t place = std::ssize(text) - 3; place > 0; place -= 3)
    text.insert(static_cast<size_t>(place), ",");
  return text;
}

int64_t bytes(double number) {
  constexpr double kMost = 0x1p62;  // more than any machine has; exact in 64 bits
  return static_cast<int64_t>(std::min(number, kMost));
}

std::string tokens_rate(double rate) {
  return rate < 100 ? fmt::format("{:.3g}", rate) : thousands(std::llround(rate));
}

}  // namespace

double Plan::memory() const {
  double sum = 0;
  for (const double part : {weights, gradients, moments, average, activations, validation, sample,
                            text, program, smaller})
    sum += part;
  return sum;
}

namespace {

Plan plan_of_one_size(const TrainOptions& options, const RunData& data, const Rates& rates) {
  Plan plan{.options = options};
  Config& config = plan.options.config;
  config.vocab_size =
      options.vocabulary == 0 ? padded_vocabulary(data.tokenizer.size()) : options.vocabulary;
  check_config(config);

  const std::vector<Parameter> table = parameter_table(config);
  plan.parameters = parameter_count(table);
  plan.embedding_parameters = table.front().count;

  const double weights = 4. * static_cast<double>(plan.parameters);
  const int window = validation_window(options, data.validation.count());
  plan.weights = weights;
  plan.gradients =
      weights + static_cast<double>(GradientSum::bytes(plan.parameters, options.accumulate));
  plan.moments = 2 * weights;
  if (options.optimizer.average > 0) plan.average = weights;
  const Precision precision = parse_precision(options.precision);
  plan.activations = static_cast<double>(model_bytes(config, options.sequence, options.batch,
                                                     training_mode(options.recompute), precision));
  if (options.sample_tokens > 0)
    plan.sample = static_cast<double>(TextGenerator::bytes(config, 1, precision));
  plan.text_is_on_disk = is_prepared(options.data);
  plan.text = plan.text_is_on_disk
                  ? 0
                  : 4. * static_cast<double>(data.train.count() + data.validation.count());
  plan.machine_memory =
      static_cast<double>(::sysconf(_SC_PHYS_PAGES)) * static_cast<double>(::sysconf(_SC_PAGESIZE));
  if (const std::optional<int64_t> limit = cgroup_limits().memory;
      limit && static_cast<double>(*limit) < plan.machine_memory) {
    plan.machine_memory = static_cast<double>(*limit);
    plan.memory_is_limited = true;
  }
  plan.checkpoint = 3 * weights + plan.average;
  plan.checkpoints = int64_t{options.keep} + 2;

  plan.flops_per_token = training_flops(config, options.sequence);
  plan.rates = rates;
  plan.tokens_per_step = int64_t{options.batch} * options.accumulate * options.sequence;
  plan.tokens_per_second = 1 / (plan.flops_per_token / rates.step +
                                optimizer_flops(table, options.optimizer) /
                                    static_cast<double>(plan.tokens_per_step) / rates.optimizer);

  const WindowSet windows(data.train, options.sequence, "the training text");
  const BatchOrder order(windows.count(), options.batch * options.accumulate, options.seed,
                         options.carry);
  int64_t tokens_at_once = int64_t{options.batch} * options.sequence;
  if (window > 0) {
    const int64_t evaluated =
        evaluated_windows(WindowSet(data.validation, window, "the validation text").count(), window,
                          validation_tokens(options, order.steps_per_epoch()));
    plan.validation = static_cast<double>(
        Evaluation::bytes(config, evaluated, window, validation_piece(options, window), precision));
    tokens_at_once += Evaluation::tokens_at_once(evaluated, window);
  }
  plan.program = program_bytes(config, tokens_at_once);
  plan.train_tokens = data.train.count();
  plan.validation_tokens = data.validation.count();
  plan.unit = data.tokenizer.unit();
  plan.steps = total_steps(options, order.steps_per_epoch());
  plan.steps_per_epoch = order.steps_per_epoch();
  plan.options.warmup = warmup_steps(options, plan.steps);
  plan.warmup_warning = LearningRate{.peak = options.optimizer.learning_rate,
                                     .warmup = plan.options.warmup,
                                     .steps = plan.steps}
                            .warning();
  plan.notes = data.notes;
  if (!data.unknown.empty()) plan.notes.push_back({data.unknown, Style::kWarning});
  return plan;
}

}  // namespace

std::vector<Plan> plan(const TrainOptions& given, const Scale& scale) {
  check_phases(given);
  check_options(given);
  check_scale(scale);
  RunData data = load_data(given, std::nullopt);
  TrainOptions options = given;
  if (const std::string line = fall_back(options.precision); !line.empty())
    data.notes.push_back({line, Style::kWarning});
  choose_precision(options, scale.ranks <= 1 && why_no_bf16().empty());
  const Rates rates = measure_rates(parse_precision(options.precision));
  const std::string recipe =
      apply_recipe(options, data, [&](double seconds, const TrainOptions& chosen) {
        TrainOptions trial = chosen;
        trial.steps = 1;
        const Plan step = plan_of_one_size(trial, data, rates);
        return std::max<int64_t>(static_cast<int64_t>(seconds / step.seconds()), 1);
      });
  const std::string division = divide_among(scale.ranks, options);
  const auto plan_of = [&](const TrainOptions& of_one_size) {
    Plan result = plan_of_one_size(of_one_size, data, rates);
    result.recipe = recipe;
    if (!division.empty()) result.notes.push_back({division});
    if (scale.ranks > 0)
      result.at_scale = plan_at_scale(scale,
                                      {.options = result.options,
                                       .memory = result.memory(),
                                       .machine_memory = result.machine_memory,
                                       .rates = rates},
                                      data);
    return result;
  };
  if (options.grow.empty()) return {plan_of(options)};
  const std::vector<Phase> phases = parse_phases(options.grow);
  std::vector<Plan> plans;
  for (const Phase& phase : phases) {
    TrainOptions of_phase = options;
    of_phase.config = phase.config;
    of_phase.steps = phase.end - phase.begin;
    if (options.warmup == kAuto) of_phase.warmup = warmup_steps(options, shortest_phase(phases));
    const double smaller = plans.empty() ? 0 : plans.back().weights;
    plans.push_back(plan_of(of_phase));
    plans.back().smaller = smaller;
    plans.back().phase = fmt::format("phase {} of {}, {}: steps {} to {}", plans.size(),
                                     phases.size(), phase.size, phase.begin + 1, phase.end);
  }
  return plans;
}

namespace {

/// "8 on nodes of 1, 25 Gbit/s and 20 us between them".
std::string describe_ranks(const ScalePlan& plan) {
  const int ranks = plan.rows.back().step.ranks;
  if (plan.network.bandwidth == 0) return fmt::format("{} on one machine like this", ranks);
  return fmt::format("{} on nodes of {}, {:g} Gbit/s and {:g} us between them", ranks,
                     plan.terms.ranks_per_node, 8e-9 * plan.network.bandwidth,
                     1e6 * plan.network.delay);
}

std::string text_of(const ScalePlan& plan, const TrainOptions& options) {
  const StepTerms& terms = plan.terms;
  const StepAtScale& step = plan.rows.back().step;
  const int parts = (terms.parts + step.ranks - 1) / step.ranks;
  std::string text = fmt::format("\nranks: {}\n", describe_ranks(plan));
  const auto line = [&](std::string_view what, double seconds, std::string_view note) {
    text += fmt::format("  {:<22}{:>14.4g} s   {}\n", what, seconds, note);
  };
  line("computing", step.computing,
       fmt::format("{} of {} x {} tokens a rank, {}; {}", counted(parts, "part"), options.batch,
                   options.sequence, counted(terms.threads, "thread"),
                   plan.is_measured ? "measured now" : "by the rates above"));
  line("communicating", step.communicating,
       fmt::format("{} from each rank, of which {:.0f} % are hidden behind the backward pass",
                   gigabytes(step.sent), 100 * step.hidden()));
  line("optimizer", step.optimizer, terms.shards_optimizer ? "of a rank's share" : "");
  line("a step", step.step, "");
  text += fmt::format("  {:>5}{:>12}{:>14}{:>14}{:>9}{:>16}\n", "ranks", "a step, s", "tokens/s",
                      "efficiency", "hidden", "memory a rank");
  for (const ScalePlan::Row& row : plan.rows)
    text +=
        fmt::format("  {:>5}{:>12.4g}{:>14}{:>12.1f} %{:>9}{:>16}\n", row.step.ranks, row.step.step,
                    tokens_rate(row.tokens_per_second), 100 * row.step.efficiency,
                    row.step.ranks == 1 ? "" : fmt::format("{:.0f} %", 100 * row.step.hidden()),
                    gigabytes(row.memory));
  return text;
}

nlohmann::ordered_json json_of(const ScalePlan& plan) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const auto& [step, tokens_per_second, memory] : plan.rows)
    rows.push_back({{"ranks", step.ranks},
                    {"computing_seconds", step.computing},
                    {"communicating_seconds", step.communicating},
                    {"hidden", step.hidden()},
                    {"optimizer_seconds", step.optimizer},
                    {"step_seconds", step.step},
                    {"tokens_per_second", tokens_per_second},
                    {"efficiency", step.efficiency},
                    {"sent_bytes", bytes(step.sent)},
                    {"memory_bytes", bytes(memory)}});
  const StepTerms& terms = plan.terms;
  return {{"measured", plan.is_measured},
          {"parts", terms.parts},
          {"ranks_per_node", terms.ranks_per_node},
          {"threads", terms.threads},
          {"network_bytes_per_second", plan.network.bandwidth},
          {"network_delay_seconds", plan.network.delay},
          {"node_copy_bytes_per_second", terms.copying},
          {"part_seconds", terms.slowest(1)},
          {"further_part_seconds", terms.further_part},
          {"rows", std::move(rows)}};
}

std::string text_of(const Plan& plan) {
  const TrainOptions& options = plan.options;
  const Config& config = options.config;
  std::string text;
  const auto line = [&](std::string_view what, std::string_view value, std::string_view note = "") {
    text += fmt::format("{:<24}{:>16}{}{}\n", what, value, note.empty() ? "" : "   ", note);
  };
  line("model", fmt::format("dim {}", config.dim), describe_layers(config));
  line("parameters", thousands(plan.parameters),
       fmt::format(
           "{} in the embedding, {} a block", thousands(plan.embedding_parameters),
           thousands((plan.parameters - plan.embedding_parameters - config.dim) / config.layers)));
  if (!plan.trainable())
    line("", "",
         fmt::format("too many for this version, which trains {} at most",
                     thousands(kMostParameters)));

  text += "\nmemory\n";
  line("  weights", gigabytes(plan.weights));
  line("  gradients", gigabytes(plan.gradients),
       options.accumulate > 1 ? fmt::format("of the tree of {} batches", options.accumulate) : "");
  line("  moments", gigabytes(plan.moments));
  if (plan.average > 0) line("  average", gigabytes(plan.average), "of the weights");
  line("  activations", gigabytes(plan.activations),
       fmt::format("{} x {} tokens at once{}", options.batch, options.sequence,
                   options.recompute ? ", recomputed in the backward pass" : ""));
  line("  validation", gigabytes(plan.validation));
  line("  sample", gigabytes(plan.sample));
  line("  program", gigabytes(plan.program), "code, threads, temporary arrays of the kernels");
  line("  text", plan.text_is_on_disk ? "on disk" : gigabytes(plan.text));
  if (plan.smaller > 0)
    line("  smaller model", gigabytes(plan.smaller),
         "the weights of the phase before, for growing");
  line("  in all", gigabytes(plan.memory()),
       fmt::format("of the {} {}{}", gigabytes(plan.machine_memory),
                   plan.memory_is_limited ? "that the control group of this process allows"
                                          : "of this machine",
                   plan.memory() > plan.machine_memory
                       ? fmt::format(": it does not fit; {}a smaller --batch with --accumulate, or "
                                     "a smaller model",
                                     options.recompute ? "" : "--recompute, ")
                       : ""));
  line("disk", gigabytes(plan.disk()),
       fmt::format("{} checkpoints of {}: --keep {}, the best, the final one", plan.checkpoints,
                   gigabytes(plan.checkpoint), options.keep));

  text += "\nspeed\n";
  line("  operations a token", fmt::format("{:.4g} MFLOP", plan.flops_per_token / 1e6),
       "forward and backward");
  line("  matrix products", fmt::format("{:.0f} GFLOP/s", plan.rates.products / 1e9),
       fmt::format("measured now: {}, {} threads, {}", cpu_name(), num_threads(),
                   options.precision));
  line("  to expect", fmt::format("{} tokens/s", tokens_rate(plan.tokens_per_second)),
       fmt::format("at {:.0f} % of that rate; all of it would be {}",
                   100 * plan.rates.step / plan.rates.products,
                   tokens_rate(plan.rates.products / plan.flops_per_token)));

  text += "\nrun\n";
  line("  data", options.data,
       fmt::format("{} {} and {} for validation", thousands(plan.train_tokens), plan.unit,
                   thousands(plan.validation_tokens)));
  line("  steps", thousands(plan.steps),
       fmt::format("of {} tokens, {} an epoch", thousands(plan.tokens_per_step),
                   thousands(plan.steps_per_epoch)));
  line("  warm-up", thousands(options.warmup), "steps");
  line("  tokens", thousands(plan.tokens()));
  line("  time", format_duration(plan.seconds()), "without validation and checkpoints");
  if (plan.at_scale) text += text_of(*plan.at_scale, options);
  if (!plan.recipe.empty()) text += "\n" + plan.recipe + "\n";
  if (!plan.warmup_warning.empty()) text += "\nwarning: " + plan.warmup_warning + "\n";
  if (!plan.notes.empty()) text += "\n";
  for (const Note& note : plan.notes)
    text += (note.style == Style::kWarning ? "warning: " : "") + note.text + "\n";
  return text;
}

nlohmann::ordered_json json_of(const Plan& plan) {
  nlohmann::ordered_json summary = nlohmann::ordered_json::array();
  for (const Note& note : plan.notes) summary.push_back(visible(note.text));
  nlohmann::ordered_json json = {{"config", to_json(plan.options.config)},
                                 {"data", text_of_name(plan.options.data)},
                                 {"data_summary", std::move(summary)},
                                 {"parameters", plan.parameters},
                                 {"trainable", plan.trainable()},
                                 {"embedding_parameters", plan.embedding_parameters},
                                 {"memory_bytes",
                                  {{"weights", bytes(plan.weights)},
                                   {"gradients", bytes(plan.gradients)},
                                   {"moments", bytes(plan.moments)},
                                   {"average", bytes(plan.average)},
                                   {"activations", bytes(plan.activations)},
                                   {"validation", bytes(plan.validation)},
                                   {"sample", bytes(plan.sample)},
                                   {"program", bytes(plan.program)},
                                   {"text", bytes(plan.text)},
                                   {"smaller", bytes(plan.smaller)},
                                   {"all", bytes(plan.memory())},
                                   {"machine", bytes(plan.machine_memory)}}},
                                 {"disk_bytes", bytes(plan.disk())},
                                 {"checkpoint_bytes", bytes(plan.checkpoint)},
                                 {"flops_per_token", plan.flops_per_token},
                                 {"precision", plan.options.precision},
                                 {"product_flops_per_second", plan.rates.products},
                                 {"tokens_per_second", plan.tokens_per_second},
                                 {fmt::format("train_{}", plan.unit), plan.train_tokens},
                                 {fmt::format("val_{}", plan.unit), plan.validation_tokens},
                                 {"steps", plan.steps},
                                 {"steps_per_epoch", plan.steps_per_epoch},
                                 {"warmup", plan.options.warmup},
                                 {"recipe", plan.recipe},
                                 {"warmup_warning", plan.warmup_warning},
                                 {"tokens_per_step", plan.tokens_per_step},
                                 {"tokens", plan.tokens()},
                                 {"seconds", plan.seconds()}};
  if (plan.at_scale) json["at_scale"] = json_of(*plan.at_scale);
  return json;
}

/// Figures of all phases together.
struct Sums {
  explicit Sums(const std::vector<Plan>& plans) {
    for (const Plan& plan : plans) {
      steps += plan.steps;
      tokens += plan.tokens();
      seconds += plan.seconds();
      memory = std::max(memory, plan.memory());
    }
  }
  int64_t steps = 0, tokens = 0;
  double seconds = 0, memory = 0;
};

}  // namespace

std::string plan_text(const std::vector<Plan>& plans) {
  if (plans.size() == 1 && plans[0].phase.empty()) return text_of(plans[0]);
  std::string text;
  for (const Plan& plan : plans) text += fmt::format("== {}\n{}\n", plan.phase, text_of(plan));
  const Sums all(plans);
  return text + fmt::format("== all phases\n{:<24}{:>16}\n{:<24}{:>16}\n{:<24}{:>16}\n", "  tokens",
                            thousands(all.tokens), "  time", format_duration(all.seconds),
                            "  memory at most", gigabytes(all.memory));
}

nlohmann::ordered_json to_json(const std::vector<Plan>& plans) {
  if (plans.size() == 1 && plans[0].phase.empty()) return json_of(plans[0]);
  nlohmann::ordered_json phases = nlohmann::ordered_json::array();
  for (const Plan& plan : plans) phases.push_back(json_of(plan));
  const Sums all(plans);
  return {{"phases", phases},
          {"steps", all.steps},
          {"tokens", all.tokens},
          {"seconds", all.seconds},
          {"memory_bytes", bytes(all.memory)}};
}

}  // namespace mmrec
