#include "train/run/options.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <type_traits>

#include "support/error.h"
#include "support/names.h"
#include "support/strict_json.h"
#include "train/data/split.h"
#include "train/run/learning_rate.h"

namespace mmrec {

namespace {

using nlohmann::json;

/// Every option that a checkpoint keeps, by its name on the command line.
template <class Options, class Visit>
void for_each_saved(Options& o, Visit&& visit) {
  visit("vocab", o.vocabulary);
  visit("data", o.data);
  visit("init", o.init);
  visit("extend-vocab", o.extend_vocab);
  visit("epochs", o.epochs);
  visit("steps", o.steps);
  visit("batch", o.batch);
  visit("seq", o.sequence);
  visit("accumulate", o.accumulate);
  visit("lr", o.optimizer.learning_rate);
  visit("lr-min", o.minimum_rate);
  visit("warmup", o.warmup);
  visit("beta1", o.optimizer.beta1);
  visit("beta2", o.optimizer.beta2);
  visit("decay", o.optimizer.decay);
  visit("clip", o.optimizer.clip);
  visit("dropout", o.dropout);
  visit("val-split", o.validation_split);
  visit("val-seq", o.validation_sequence);
  visit("val-tokens", o.validation_tokens);
  visit("eval-every", o.eval_every);
  visit("patience", o.patience);
  visit("save-every", o.save_every);
  visit("keep", o.keep);
  visit("sample-every", o.sample_every);
  visit("sample-tokens", o.sample_tokens);
  visit("tensorboard", o.tensorboard);
  visit("seed", o.seed);
}

/// Options that decide what text a step takes, what the model is and how losses compare.
constexpr const char* kFixed[] = {"vocab", "batch", "seq", "accumulate", "val-seq", "val-tokens", "seed", "extend-vocab"};

}  // namespace

void check_options(const TrainOptions& o) {
  const auto require = [](bool holds, const char* option, const auto& value, const char* demand) {
    if (!holds) fail_usage("--{} {} makes no sense; it must be {}", option, value, demand);
  };
  const OptimizerSettings& s = o.optimizer;
  require(std::isfinite(s.learning_rate) && s.learning_rate > 0, "lr", s.learning_rate, "more than 0 and fit into a float");
  for (const auto& [option, beta] : {std::pair("beta1", s.beta1), {"beta2", s.beta2}})
    require(beta >= 0 && beta < 1, option, beta, "at least 0 and, as a float, less than 1");
  require(std::isfinite(s.decay) && s.decay >= 0, "decay", s.decay, "at least 0 and fit into a float");
  require(std::isfinite(s.clip) && s.clip >= 0, "clip", s.clip, "at least 0 and fit into a float");
  require(o.dropout >= 0 && o.dropout < 1, "dropout", o.dropout, "at least 0 and, as a float, less than 1");
  require(o.batch >= 1, "batch", o.batch, "at least 1");
  require(o.accumulate >= 1, "accumulate", o.accumulate, "at least 1");
  require(int64_t{o.batch} * o.accumulate <= INT32_MAX, "accumulate", o.accumulate, "smaller: a step's windows are counted in 31 bits");
  require(o.keep >= 1, "keep", o.keep, "at least 1");
  require(o.init.empty() ? !o.extend_vocab : true, "extend-vocab", "without --init", "given with --init, whose tokenizer it extends");
  require(o.validation_tokens >= 0 || o.validation_tokens == kAuto, "val-tokens", o.validation_tokens, "at least 0");
  require(o.warmup >= 0 || o.warmup == kAuto, "warmup", o.warmup, "at least 0");
  parse_minimum_rate(o.minimum_rate, s.learning_rate);
  parse_validation_split(o.validation_split);
  if (o.sequence > o.config.max_seq) fail_usage("--seq {} is longer than the configuration's max_seq {}", o.sequence, o.config.max_seq);
  if (o.validation_sequence > o.config.max_seq)
    fail_usage("--val-seq {} is longer than the configuration's max_seq {}", o.validation_sequence, o.config.max_seq);
}

json to_json(const TrainOptions& options) {
  json result = json::object();
  for_each_saved(options, [&](const char* name, const auto& value) {
    if constexpr (std::is_same_v<std::decay_t<decltype(value)>, std::string>)
      result[name] = text_of_name(value);
    else
      result[name] = value;
  });
  return result;
}

TrainOptions options_from_json(const json& values, const std::string& where) {
  TrainOptions options;
  size_t known = 0;
  for_each_saved(options, [&](const char* name, auto& value) {
    if (!values.is_object() || !values.contains(name)) return;  // written by a version that had no such option
    ++known;
    using T = std::remove_reference_t<decltype(value)>;
    const json& given = values.at(name);
    if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
      const std::optional<uint64_t> number = whole_number(given, std::numeric_limits<T>::max());
      if (!number) fail("{}: option '{}' cannot be {}", where, name, given.dump());
      value = static_cast<T>(*number);
    } else {
      try {
        given.get_to(value);
        if constexpr (std::is_same_v<T, std::string>) value = name_of_text(value);
      } catch (const json::exception&) {
        fail("{}: option '{}' cannot be {}", where, name, given.dump());
      }
    }
  });
  if (!values.is_object() || known != values.size()) fail("{}: there are options that this version does not know", where);
  return options;
}

int64_t warmup_steps(const TrainOptions& options, int64_t steps) {
  constexpr int64_t kMost = 100;
  if (options.warmup != kAuto) return options.warmup;
  return options.data == "sample" ? kMost : std::min(kMost, steps / 10);
}

int64_t total_steps(const TrainOptions& options, int steps_per_epoch) {
  const int64_t steps = options.steps > 0 ? options.steps : int64_t{options.epochs} * steps_per_epoch;
  if (steps > INT64_MAX / (int64_t{options.batch} * options.accumulate * options.sequence))
    fail_usage("{} steps have more tokens than can be counted; give fewer --steps or --epochs", steps);
  return steps;
}

int64_t validation_tokens(const TrainOptions& options, int steps_per_epoch) {
  if (options.validation_tokens != kAuto) return options.validation_tokens;
  const int64_t steps = std::min(total_steps(options, steps_per_epoch), options.eval_every > 0 ? options.eval_every : steps_per_epoch);
  return std::clamp<int64_t>(steps * options.batch * options.accumulate * options.sequence / 40, 10'000, 500'000);
}

int validation_window(const TrainOptions& options, int64_t tokens) {
  return static_cast<int>(std::min<int64_t>(options.validation_sequence, std::max<int64_t>(tokens, 1) - 1));
}

int validation_piece(const TrainOptions& options, int window) { return window > options.sequence ? options.sequence : 0; }

void check_same_course(const TrainOptions& saved, const TrainOptions& now) {
  const json before = to_json(saved), after = to_json(now);
  for (const char* name : kFixed)
    if (before[name] != after[name])
      fail_usage(
          "--{} {}: the run was begun with {}, and with another it would no longer be the same run; leave the option out, or start a new run from "
          "the checkpoint with --init",
          name, plain_text(after[name]), plain_text(before[name]));
}

}  // namespace mmrec
