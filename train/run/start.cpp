#include "train/run/start.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>
#include <vector>

#include "model/config_file.h"
#include "runtime/kernel_registry.h"
#include "support/atomic_file.h"
#include "support/console.h"
#include "support/error.h"
#include "support/strict_json.h"
#include "train/run/metrics.h"
#include "train/run/recipe.h"
#include "train/run/run_time.h"
#include "train/run/upscale.h"

namespace mmrec {

namespace fs = std::filesystem;

std::string divide_among(int ranks, TrainOptions& options) {
  if (options.given.contains("accumulate") || options.accumulate >= ranks) return "";
  for (int parts = ranks; parts <= options.batch; ++parts) {
    if (options.batch % parts != 0) continue;
    const int windows = options.batch;
    options.batch /= parts;
    options.accumulate = parts;
    return fmt::format(
        "the {} windows of a step are {} parts, for the ranks: --batch {} --accumulate {}, with "
        "which any number of them gets the same weights",
        windows, parts, options.batch, parts);
  }
  return "";
}

RunStart start_new(const TrainOptions& options) {
  RunFolder::check_new(options.out, options.overwrite);
  RunStart start;
  if (options.init.empty()) return start;
  start.checkpoint.emplace(options.init);
  if (options.overwrite && within(options.out)(start.checkpoint->folder))
    fail_usage(
        "--init {}: it is within --out {}, out of which --overwrite moves what is there; choose "
        "another --out",
        options.init, options.out.string());
  return start;
}

RunStart start_again(const fs::path& run_or_checkpoint) {
  fs::path path = run_or_checkpoint.lexically_normal();
  if (!path.has_filename()) path = path.parent_path();  // trailing slash
  std::error_code unknown;
  if (path == "." || path.filename() == ".." || fs::is_symlink(path, unknown))
    path = PathAt(path).destination().path();
  const std::string name = path.filename().string();
  const bool names_checkpoint = is_checkpoint_name(name);
  const fs::path run = !names_checkpoint        ? path
                       : path.has_parent_path() ? path.parent_path()
                                                : fs::path(".");
  if (is_checkpoint(path) && !(names_checkpoint && exists(run / RunFolder::kConfig)))
    fail("{} is a checkpoint, but {}; start a new run from its weights with --init {}",
         run_or_checkpoint.string(),
         Checkpoint(path).has_moments()
             ? "not in its run's folder under its own name, where the run could go on"
             : kWithoutMoments,
         run_or_checkpoint.string());
  RunStart start;
  start.folder.emplace(RunFolder::for_resuming(run));
  if (names_checkpoint) {
    start.checkpoint.emplace(*start.folder / name);
    if (const std::string obstacle = start.folder->obstacle(*start.checkpoint); !obstacle.empty())
      fail("cannot go on from {}: {}", path.string(), obstacle);
  } else {
    RunFolder::Newest newest = start.folder->newest_checkpoint();
    start.checkpoint.emplace(std::move(newest.checkpoint));
    start.notes = std::move(newest.refused);
  }
  return start;
}

size_t RunStart::phase(const std::vector<Phase>& phases) const {
  if (!resumes()) return 0;
  const RunState& state = checkpoint->state;
  return phase_at(phases, state.step - (state.progress->unfinished.empty() ? 0 : 1));
}

bool RunStart::begins_phase(const TrainOptions& options) const {
  if (options.grow.empty() || !resumes()) return false;
  const std::vector<Phase> phases = parse_phases(options.grow);
  const Phase& now = phases[phase(phases)];
  return now.begin > 0 && now.begin == checkpoint->state.step;
}

Config run_config(const TrainOptions& options, const RunStart& start, const Tokenizer& tokenizer) {
  Config config = options.config;
  if (!start.checkpoint) {
    config.vocab_size =
        options.vocabulary == 0 ? padded_vocabulary(tokenizer.size()) : options.vocabulary;
  } else {
    const Config& given = start.checkpoint->config;
    config.vocab_size = given.vocab_size;
    if (config != given)
      fail_usage("--config, --set, --arch or --memory asks for another model than {} holds: {}",
                 start.checkpoint->folder.string(),
                 describe_changes(to_json(given), to_json(config)));
    const bool fitted = given.vocab_size == padded_vocabulary(start.checkpoint->tokenizer.size());
    if (fitted || tokenizer.size() > given.vocab_size)
      config.vocab_size = padded_vocabulary(tokenizer.size());
  }
  if (!options.grow.empty()) {
    const int vocab_size = config.vocab_size;
    const std::vector<Phase> phases = parse_phases(options.grow);
    config = phases[start.phase(phases)].config;
    config.vocab_size = vocab_size;
  }
  check_config(config);
  return config;
}

Trainer make_trainer(TrainOptions options, const RunStart& start, Ranks& ranks) {
  Console console(options.quiet);
  console.status(fmt::format("reading {} and making tokens of it", options.data));
  RunData data = load_data(options, start.tokenizer());
  options.config = run_config(options, start, data.tokenizer);
  if (start.resumes()) check_same_data(start.checkpoint->state.progress->data, data, options.data);
  if (!start.resumes()) {
    // of other ranks nothing is known here
    choose_precision(options, !ranks.are_many() && why_no_bf16().empty());
    const std::string line =
        apply_recipe(options, data, [&](double seconds, const TrainOptions& chosen) {
          console.status("measuring the speed");
          TrainOptions divided = chosen;
          divide_among(ranks.size(), divided);
          const RunCosts costs = measure_costs(seconds, divided, data, ranks);
          return steps_within(seconds - options.since_start.seconds(), costs, chosen, data);
        });
    if (!line.empty()) data.notes.push_back({line, Style::kHeading});
    if (const std::string parts = divide_among(ranks.size(), options); !parts.empty())
      data.notes.push_back({parts});
  }
  if (options.grow.empty()) return Trainer(options, std::move(data), 0, ranks);
  const std::vector<Phase> phases = parse_phases(options.grow);
  const Phase& now = phases[start.phase(phases)];
  options.steps = now.end;
  // one number for all phases, as it is an option of the run
  if (options.warmup == kAuto) options.warmup = warmup_steps(options, shortest_phase(phases));
  return Trainer(options, std::move(data), now.begin, ranks);
}

std::string read_parameters(const RunStart& start, Trainer& trainer) {
  if (!start.checkpoint) return "";
  Parameters& parameters = trainer.parameters();
  const TrainOptions& options = trainer.options();
  if (start.begins_phase(options)) {
    const std::vector<Phase> phases = parse_phases(options.grow);
    const size_t now = start.phase(phases);
    const Growth growth = read_grown_weights(*start.checkpoint, trainer.config(),
                                             growth_rule(options.exact), parameters);
    parameters.start_average();
    return fmt::format(
        "phase {} of {}, {}: steps {} to {}, grown from {}: {} of {} parameters are copied",
        now + 1, phases.size(), phases[now].size, phases[now].begin + 1, phases[now].end,
        start.checkpoint->folder.string(), growth.copied(), growth.count());
  }
  const Tensor added = parameters.weight("embedding.weight")
                           .rows(start.checkpoint->tokenizer.size(), trainer.tokenizer().size());
  const std::vector<float> drawn(added.data(), added.data() + added.count());
  start.checkpoint->read_weights(parameters);
  std::ranges::copy(drawn, added.data());
  if (start.resumes())
    start.checkpoint->read_moments(parameters, trainer.carried(), trainer.moments_to_read());
  else
    parameters.start_average();
  return "";
}

RunFolder open_folder(const TrainOptions& options, RunStart& start, int64_t steps) {
  if (!start.resumes()) return RunFolder::for_new_run(options.out, options.overwrite);
  const RunState& state = start.checkpoint->state;
  if (state.step > steps)
    fail_usage(
        "the run has taken {} steps already, which is more than the {} that it is to have in all",
        state.step, steps);
  if (state.step > end_of_call(options, steps))
    fail_usage("--until {}: the run has taken {} steps already", options.until, state.step);
  if (const std::vector<std::string> later = start.folder->go_back_to(*start.checkpoint);
      !later.empty())
    start.notes.push_back(
        fmt::format("moved to set_aside, since the run goes on from an earlier step: {}",
                    fmt::join(later, ", ")));
  if (const int64_t lost = drop_metrics_after(*start.folder / RunFolder::kMetrics, state.step,
                                              !std::isnan(state.validation_loss));
      lost > 0)
    start.notes.push_back(fmt::format("{} lines of {} are no figures and are in {}{} now", lost,
                                      RunFolder::kMetrics, RunFolder::kMetrics, kUnreadable));
  return std::move(*start.folder);
}

int64_t end_of_call(const TrainOptions& options, int64_t steps) {
  const int64_t all = options.grow.empty() ? steps : parse_phases(options.grow).back().end,
                last = last_step_of_call(options.until, all);
  return last < all ? last : INT64_MAX;
}

TrainOptions to_save(TrainOptions options) {
  options.data = absolute_data(options.data);
  return options;
}

}  // namespace mmrec
