#include "train/run/options.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <type_traits>
#include <vector>

#include "support/counted.h"
#include "support/error.h"
#include "support/names.h"
#include "support/parse_number.h"
#include "support/strict_json.h"
#include "train/data/split.h"
#include "train/data/tokenizer.h"
#include "train/ranks/gradient_sum.h"
#include "train/run/learning_rate.h"
#include "train/run/options_json.h"
#include "train/run/precision.h"
#include "train/run/recipe.h"

namespace mmrec {

namespace {

using nlohmann::json;

/// Throws a UsageError unless `holds`: "--dropout 1 makes no sense; it must be at least 0 and, as a
/// float, less than 1".
template <class Value>
void require(bool holds, const char* option, const Value& value, std::string_view demand) {
  if (!holds) fail_usage("--{} {} makes no sense; it must be {}", option, value, demand);
}

/// Describes bounds: "at least 0 and, as a float, less than 1".
std::string demand(const Bounds& bounds, bool is_float) {
  std::vector<std::string> parts;
  for (const auto& [words, bound] : {std::pair("at least", bounds.at_least),
                                     {"more than", bounds.more_than},
                                     {"at most", bounds.at_most}})
    if (bound) parts.push_back(fmt::format("{} {}", words, *bound));
  const std::string text = fmt::format("{}", fmt::join(parts, " and "));
  if (bounds.less_than)
    return fmt::format("{} and, as a float, less than {}", text, *bounds.less_than);
  return is_float ? text + " and fit into a float" : text;
}

json to_field(const std::string& value) { return text_of_name(value); }
json to_field(const auto& value) { return value; }

/// Returns the word that the number is a marker for, or "". A number out of bounds stands for none.
template <class Number>
std::string_view marked_word(const TrainOption& row, Number value) {
  using enum TrainOption::Form;
  const std::optional<int64_t> automatic = row.form == kOrAuto       ? std::optional(kAuto)
                                           : row.form == kVocabulary ? std::optional<int64_t>(0)
                                                                     : std::nullopt;
  if (automatic && static_cast<int64_t>(value) == *automatic) return "auto";
  return is_within(row.bounds, static_cast<double>(value)) ? "" : "none";
}

/// Reads a value. Returns false if the field has another type or is out of range.
template <class T>
bool read_field(const json& field, T& value) {
  if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
    const std::optional<uint64_t> number = whole_number(field, std::numeric_limits<T>::max());
    if (number) value = static_cast<T>(*number);
    return number.has_value();
  } else {
    try {
      field.get_to(value);
      if constexpr (std::is_same_v<T, std::string>) value = name_of_text(value);
      return true;
    } catch (const json::exception&) {
      return false;
    }
  }
}

/// Throws a UsageError if somebody gave an option of Muon to another optimizer, which does not read
/// it.
void check_muon_options(const std::set<std::string>& given, const std::string& optimizer) {
  for (const char* name : kMuonOptions)
    if (given.contains(name) && optimizer != "muon")
      fail_usage("--{} is for --optimizer muon, and this run has {}; leave it out", name,
                 optimizer);
}

void check_ranges(const TrainOptions& options) {
  const TrainOptions defaults;
  for (const TrainOption& row : train_option_table())
    row.visit(
        [&]<class T>(const T& value, const T& standard) {
          if constexpr (std::is_arithmetic_v<T>)
            require(value == standard || is_within(row.bounds, static_cast<double>(value)),
                    row.name, value, demand(row.bounds, std::is_floating_point_v<T>));
        },
        options, defaults);
}

}  // namespace

std::span<const TrainOption> train_option_table() {
  using enum TrainOption::Form;
  using enum TrainOption::Scope;
  using enum TrainOption::Resume;
  using O = TrainOptions;
  using A = OptimizerSettings;
  constexpr Bounds kAny{}, kFromZero{.at_least = 0}, kFromOne{.at_least = 1},
      kBelowOne{.at_least = 0, .less_than = 1};
  static const TrainOption kTable[] = {
      {"data", &O::data,
       "sample (the built-in corpus), a text file, or a folder: one with train.txt and val.txt, as "
       "prepare makes them, or one of texts, or a pattern such as '*.txt', which are prepared "
       "first"},
      {"out", &O::out,
       "where the run goes (default: checkpoints/ and the name of the text, or of the "
       "configuration where --config or no text is given)",
       kAny, kIsForNewRuns, kCall},
      {"overwrite", &O::overwrite,
       "an earlier run in --out is moved to its folder previous (which is replaced)", kAny,
       kIsForNewRuns, kCall},
      {"init", &O::init,
       "a checkpoint, or a run's folder, whose weights and tokenizer to start from", kAny,
       kIsForNewRuns},
      {"extend-vocab", &O::extend_vocab,
       "with --init: characters that its tokenizer does not know get tokens of their own", kAny,
       kIsFixed},
      {"grow", &O::grow,
       "sizes to train one after the other, each grown from the one before, and their steps: "
       "tiny:2000,mini:2000; in place of --config and --steps",
       kAny, kIsFixed},
      {"exact", &O::exact,
       "with --grow: choose what is new such that the logits stay as they are, in place of copying "
       "the overlap of each tensor",
       kAny, kIsFixed},
      {"recipe", &O::recipe,
       "what chooses the options that are not given: text, by the size of the text and the model; "
       "documented, the defaults below; auto: documented for sample, text for any other text",
       kAny, kIsForNewRuns},
      {"time", &O::time,
       "how long the run may take, as 90s, 5m or 1h30m, a number alone in seconds, in place of "
       "--steps: the speed is measured at the start",
       kAny, kIsForNewRuns},
      {"epochs", &O::epochs, "times through the text", kFromOne},
      {"steps",
       &O::steps,
       "steps of the whole run; without it as many as --epochs take",
       {.at_least = 1, .at_most = 1e12}},
      {"batch", &O::batch, "windows a batch", kFromOne, kIsFixed},
      {"accumulate", &O::accumulate,
       "batches a step, whose gradients are averaged: a larger batch in the same memory, and what "
       "ranks (mpirun) divide among themselves",
       kFromOne, kIsFixed},
      {"allreduce", &O::allreduce,
       "how ranks add their gradients; tree: the same weights with any number of ranks; fast: in "
       "the order that MPI likes best",
       kAny, kIsFixed},
      {"shard-optimizer", &O::shard_optimizer,
       "each rank keeps the optimizer's moments of its part of the parameters, takes the steps of "
       "that part and gives the new weights to the others: less memory a rank, the same weights"},
      {"precision", &O::precision,
       "what the factors of matrix products are rounded to: float32, or bf16, which is faster on "
       "CPUs with instructions for it, and what the recipe takes there for a --time; on others a "
       "new run says so and takes float32"},
      {"recompute", &O::recompute,
       "compute each block's activations again in the backward pass: less memory, more time, the "
       "same weights"},
      {"seq", &O::sequence, "tokens a window", kFromOne, kIsFixed},
      {"carry", &O::carry,
       "consecutive windows of the text that the state is handed through, for windows that are "
       "shorter than what the model remembers; 1: every window begins with a zero state",
       kFromOne, kIsFixed},
      {"optimizer", &A::algorithm,
       "adamw, or muon: Muon for the hidden matrices and AdamW for all else", kAny, kIsFixed},
      {"lr", &A::learning_rate, "peak learning rate, of AdamW", {.more_than = 0}},
      {"lr-min", &O::minimum_rate,
       "learning rate at the end: a rate, or a part of the peak as 0.1x"},
      {"warmup", &O::warmup,
       "steps of linear warm-up; auto: 100, with the recipe text at most a tenth of the run",
       kFromZero, kOverrides, kRun, kOrAuto},
      {"beta1", &A::beta1, "AdamW's first decay rate", kBelowOne},
      {"beta2", &A::beta2, "AdamW's second decay rate", kBelowOne},
      {"decay", &A::decay, "weight decay", kFromZero},
      {"muon-lr",
       &A::muon_learning_rate,
       "Muon's peak learning rate; it follows AdamW's schedule",
       {.more_than = 0}},
      {"muon-decay", &A::muon_decay, "Muon's weight decay", kFromZero},
      {"muon-every", &A::muon_every,
       "the hidden matrices take turns at Muon's steps: each has one in so many steps, as many "
       "times as large",
       kFromOne},
      {"clip", &A::clip, "largest global norm of the gradients, 0: any", kFromZero},
      {"average", &A::average,
       "decay rate, as 0.998, of a moving average of the weights, which is then what is validated, "
       "saved as the model and used; 0: no average",
       kBelowOne, kIsFixed},
      {"dropout", &O::dropout, "probability of dropping an activation", kBelowOne},
      {"val-split", &O::validation_split,
       "part of a text file that is for validation; auto: 0.2, of 10 MB and more 0.05"},
      {"val-seq", &O::validation_sequence, "tokens a validation window", kFromOne, kIsFixed},
      {"val-tokens", &O::validation_tokens,
       "tokens of a validation at most, from all over the validation text, 0: all of it; auto: as "
       "many as take about 1 % of the time",
       kFromZero, kIsFixed, kRun, kOrAuto},
      {"eval-every", &O::eval_every, "steps between validations, 0: at the end of each epoch",
       kFromZero},
      {"patience", &O::patience, "validations without a better loss before the run stops, 0: never",
       kFromZero},
      {"save-every", &O::save_every, "steps between checkpoints, 0: only at the end", kFromZero},
      {"keep", &O::keep, "checkpoints of steps that stay", kFromOne},
      {"vocab", &O::vocabulary,
       "auto: as many tokens as the text needs; or a number (default: the configuration's)", kAny,
       kIsFixed, kRun, kVocabulary},
      {"tokenizer", &O::tokenizer,
       "what a token of a text file is: char, a character; bytes; or bpe, pieces that "
       "SentencePiece finds in it; auto: that of the folder or of --init, else the recipe's, bpe "
       "for 600 KB and more of training text, or char",
       kAny, kIsFixed},
      {"sample-every", &O::sample_every,
       "steps between samples of generated text, 0: only at the end", kFromZero},
      {"sample-tokens", &O::sample_tokens, "a sample's length, 0: no samples", kFromZero},
      {"tensorboard", &O::tensorboard,
       "write the figures for TensorBoard too, beside metrics.jsonl"},
      {"profile", &O::profile, "print each kernel's share of the time at the end", kAny, kOverrides,
       kCall},
      {"trace", &O::trace,
       "write what each thread does in the third step of this call to this file, for "
       "https://ui.perfetto.dev",
       kAny, kOverrides, kCall},
      {"until", &O::until,
       "end this call after so many steps of the run, or a part of them as 0.25x, with a "
       "validation; --resume goes on",
       kAny, kOverrides, kCall},
      {"seed", &O::seed, nullptr, kAny, kIsFixed},
      {"quiet", &O::quiet, nullptr, kAny, kOverrides, kCall},
  };
  return kTable;
}

void check_one_length(const std::set<std::string>& given) {
  const char* first = nullptr;
  for (const char* name : kLengthOptions) {
    if (!given.contains(name)) continue;
    if (first)
      fail_usage("--{} and --{} both say how long the run is; leave one of them out", first, name);
    first = name;
  }
}

void check_options(const TrainOptions& o) {
  check_ranges(o);
  require(int64_t{o.batch} * o.accumulate <= INT32_MAX, "accumulate", o.accumulate,
          "smaller: a step's windows are counted in 31 bits");
  require(!o.extend_vocab || !o.init.empty(), "extend-vocab", "without --init",
          "given with --init, whose tokenizer it extends");
  check_algorithm(o.optimizer.algorithm);
  GradientSum::parse_order(o.allreduce);
  parse_training_precision(o.precision);
  check_recipe(o.recipe);
  check_muon_options(o.given, optimizer_of(o));
  if (o.tokenizer != "auto") parse_token_kind(o.tokenizer);
  const bool has_peak = o.given.contains("lr") || !has_recipe(o);  // else the recipe chooses it
  parse_minimum_rate(o.minimum_rate,
                     has_peak ? std::optional<double>(o.optimizer.learning_rate) : std::nullopt);
  parse_validation_split(o.validation_split);
  if (!o.time.empty()) parse_duration(o.time);
  last_step_of_call(o.until, 1);
  if (o.sequence > o.config.max_seq)
    fail_usage("--seq {} is longer than the configuration's max_seq {}", o.sequence,
               o.config.max_seq);
  if (o.carry > 1 && o.config.chunk_size > 0)
    fail_usage(
        "--carry {} does not go together with chunk_size {}: chunks hand on memory banks, too, "
        "which are not handed from window to window; leave one of them out",
        o.carry, o.config.chunk_size);
  if (o.validation_sequence > o.config.max_seq)
    fail_usage("--val-seq {} is longer than the configuration's max_seq {}", o.validation_sequence,
               o.config.max_seq);
}

json to_json(const TrainOptions& options) {
  json result = json::object();
  for (const TrainOption& row : train_option_table())
    if (row.scope == TrainOption::Scope::kRun)
      row.visit([&](const auto& value) { result[row.name] = to_field(value); }, options);
  return result;
}

json in_words(const TrainOptions& options) {
  json result = to_json(options);
  for (const TrainOption& row : train_option_table())
    if (row.scope == TrainOption::Scope::kRun)
      row.visit(
          [&]<class T>(const T& value) {
            std::string_view word;
            if constexpr (std::is_arithmetic_v<T>)
              word = marked_word(row, value);
            else if (value.empty())
              word = "none";
            if (!word.empty()) result[row.name] = word;
          },
          options);
  return result;
}

TrainOptions options_from_json(const json& values, const std::string& where) {
  TrainOptions options;
  size_t known = 0;
  for (const TrainOption& row : train_option_table()) {
    if (row.scope != TrainOption::Scope::kRun || !values.is_object() || !values.contains(row.name))
      continue;  // written by a version without this option
    ++known;
    const json& field = values.at(row.name);
    row.visit(
        [&](auto& value) {
          if (!read_field(field, value))
            fail("{}: option '{}' cannot be {}", where, row.name, field.dump());
        },
        options);
  }
  if (!values.is_object() || known != values.size())
    fail("{}: there are options that this version does not know", where);
  return options;
}

void override_options(TrainOptions& run, const TrainOptions& given,
                      const std::set<std::string>& names) {
  const TrainOptions begun_with = run;
  check_muon_options(names, run.optimizer.algorithm);
  for (const TrainOption& row : train_option_table())
    if (row.resume != TrainOption::Resume::kIsForNewRuns && names.contains(row.name))
      row.visit([](auto& value, const auto& now) { value = now; }, run, given);
  if (names.contains("lr") && !names.contains("muon-lr") && run.optimizer.algorithm == "muon")
    run.optimizer.muon_learning_rate *=
        run.optimizer.learning_rate / begun_with.optimizer.learning_rate;
  if (run.validation_tokens == kAuto) run.validation_tokens = begun_with.validation_tokens;
  if (run.warmup == kAuto && begun_with.warmup != kAuto)
    fail_usage("--warmup auto: a run that goes on keeps its warm-up, of {}; a number changes it",
               counted(begun_with.warmup, "step"));
  if (names.contains("epochs") && !names.contains("steps")) run.steps = 0;
}

void check_fixed_options(const TrainOptions& saved, const TrainOptions& now) {
  const json before = in_words(saved), after = in_words(now);
  for (const TrainOption& row : train_option_table())
    if (row.resume == TrainOption::Resume::kIsFixed && before[row.name] != after[row.name])
      fail_usage(
          "--{} {}: the run was begun with {}, and with another it would no longer be the same "
          "run; leave the option out, or start a new run from "
          "the checkpoint with --init",
          row.name, plain_text(after[row.name]), plain_text(before[row.name]));
}

int64_t warmup_steps(const TrainOptions& options, int64_t steps) {
  constexpr int64_t kMost = 100;
  if (options.warmup != kAuto) return options.warmup;
  return has_recipe(options) ? std::min(kMost, steps / 10) : kMost;
}

int64_t total_steps(const TrainOptions& options, int steps_per_epoch) {
  const int64_t steps =
      options.steps > 0 ? options.steps : int64_t{options.epochs} * steps_per_epoch;
  if (steps > INT64_MAX / (int64_t{options.batch} * options.accumulate * options.sequence))
    fail_usage("{} steps have more tokens than can be counted; give fewer --steps or --epochs",
               steps);
  return steps;
}

int64_t last_step_of_call(const std::string& until, int64_t steps) {
  if (until.empty()) return steps;
  const std::optional<int64_t> step = parse_number<int64_t>(until);
  if (step && *step > 0) return std::min(*step, steps);
  const std::optional<double> part =
      until.ends_with('x') ? parse_number<double>(until.substr(0, until.size() - 1)) : std::nullopt;
  if (!part || !(*part > 0 && *part <= 1))
    fail_usage("--until {}: expected a step from 1, or a part of the run such as 0.25x", until);
  return static_cast<int64_t>(std::ceil(*part * static_cast<double>(steps)));
}

int64_t validation_tokens(const TrainOptions& options, int steps_per_epoch) {
  if (options.validation_tokens != kAuto) return options.validation_tokens;
  const int64_t steps = std::min(total_steps(options, steps_per_epoch),
                                 options.eval_every > 0 ? options.eval_every : steps_per_epoch);
  return std::clamp<int64_t>(steps * options.batch * options.accumulate * options.sequence / 40,
                             10'000, 500'000);
}

int validation_window(const TrainOptions& options, int64_t tokens) {
  return static_cast<int>(
      std::min<int64_t>(options.validation_sequence, std::max<int64_t>(tokens, 1) - 1));
}

int validation_piece(const TrainOptions& options, int window) {
  return window > options.sequence ? options.sequence : 0;
}

}  // namespace mmrec
