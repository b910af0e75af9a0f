#include "train/run/options.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <type_traits>

#include "support/error.h"
#include "tests/common/expect_error.h"
#include "train/run/options_json.h"

namespace mmrec {
namespace {

using test::expect_error;

/// Returns options in which every value is allowed and differs from its default.
TrainOptions all_changed() {
  TrainOptions options;
  for (const TrainOption& row : train_option_table())
    row.visit(
        []<class T>(T& value) {
          if constexpr (std::is_same_v<T, bool>)
            value = !value;
          else if constexpr (std::is_floating_point_v<T>)
            value = value / 2;
          else if constexpr (std::is_arithmetic_v<T>)
            value += 3;
          else
            value = "0.05";  // also valid for --lr-min and --val-split
        },
        options);
  options.optimizer.learning_rate = 0.5f;
  options.optimizer.average = 0.5f;
  options.optimizer.algorithm = "muon";
  options.allreduce = "fast";
  options.shard_optimizer = true;
  options.recipe = "text";
  options.tokenizer = "bytes";
  options.precision = "bf16";
  options.until = "7";
  return options;
}

std::string text_of(const TrainOption& row, const TrainOptions& options) {
  std::string text;
  row.visit([&](const auto& value) { text = nlohmann::json(value).dump(); }, options);
  return text;
}

TEST(OptionTable, HasEachOptionOnceAndSavesThoseOfTheRun) {
  const nlohmann::json saved = to_json(TrainOptions{});
  std::set<std::string> names;
  for (const TrainOption& row : train_option_table()) {
    EXPECT_TRUE(names.insert(row.name).second) << row.name;
    EXPECT_EQ(saved.contains(row.name), row.scope == TrainOption::Scope::kRun) << row.name;
  }
  const TrainOptions changed = all_changed(),
                     back = options_from_json(to_json(changed), "state.json");
  for (const TrainOption& row : train_option_table())
    EXPECT_EQ(text_of(row, back),
              text_of(row, row.scope == TrainOption::Scope::kRun ? changed : TrainOptions{}))
        << row.name;
}

TEST(OptionTable, ChecksTheRangeOfEachNumber) {
  EXPECT_NO_THROW(check_options({}));
  EXPECT_NO_THROW(check_options(all_changed()));
  for (const TrainOption& row : train_option_table()) {
    TrainOptions options;
    bool is_bounded = false;
    row.visit(
        [&]<class T>(T& value) {
          if constexpr (std::is_arithmetic_v<T> && std::is_signed_v<T>) {
            value = static_cast<T>(-2);
            is_bounded = row.bounds.at_least || row.bounds.more_than;
          }
        },
        options);
    if (is_bounded)
      expect_error<UsageError>([&] { check_options(options); },
                               {std::string("--") + row.name + " -2 makes no sense"});
  }
  TrainOptions options;
  options.dropout = 1;
  expect_error<UsageError>(
      [&] { check_options(options); },
      {"--dropout 1 makes no sense; it must be at least 0 and, as a float, less than 1"});
}

TEST(OptionTable, ResumedRunTakesOnlyTheGivenOptions) {
  const TrainOptions given = all_changed();
  for (const TrainOption& row : train_option_table()) {
    TrainOptions run;
    run.steps = 10;
    if (std::string(row.name).starts_with("muon-")) run.optimizer.algorithm = "muon";
    const TrainOptions before = run;
    override_options(run, given, {row.name});
    const bool taken = row.resume != TrainOption::Resume::kIsForNewRuns;
    EXPECT_EQ(text_of(row, run), text_of(row, taken ? given : before)) << row.name;
    EXPECT_EQ(run.steps, std::string(row.name) == "epochs"  ? 0
                         : std::string(row.name) == "steps" ? given.steps
                                                            : 10)
        << row.name;
    if (row.resume == TrainOption::Resume::kIsFixed)
      expect_error<UsageError>([&] { check_fixed_options(before, run); },
                               {std::string("--") + row.name, "begun with"});
    else
      EXPECT_NO_THROW(check_fixed_options(before, run)) << row.name;
  }
}

/// Messages show no marker, which the command line would refuse.
TEST(OptionTable, MessagesSayTheCommandLinesWords) {
  const TrainOptions automatic, given = all_changed();
  const nlohmann::json words = in_words(automatic), values = in_words(given);
  for (const TrainOption& row : train_option_table()) {
    if (row.scope != TrainOption::Scope::kRun) continue;
    const std::string name = row.name, standard = text_of(row, automatic);
    const bool is_missing = standard == "\"\"" || name == "steps";
    EXPECT_EQ(words[name].dump(), row.form != TrainOption::Form::kPlain ? "\"auto\""
                                  : is_missing                          ? "\"none\""
                                                                        : standard)
        << name;
    EXPECT_EQ(values[name].dump(), text_of(row, given)) << name;
  }

  TrainOptions one = automatic, other = automatic;
  one.vocabulary = 100;
  expect_error<UsageError>([&] { check_fixed_options(automatic, one); },
                           {"--vocab 100: ", "begun with auto, "});
  expect_error<UsageError>([&] { check_fixed_options(one, automatic); },
                           {"--vocab auto: ", "begun with 100, "});
  other.grow = "tiny:9";
  expect_error<UsageError>([&] { check_fixed_options(automatic, other); },
                           {"--grow tiny:9: ", "begun with none, "});
}

TEST(OptionTable, UntilIsAStepOrAPart) {
  EXPECT_EQ(last_step_of_call("", 40), 40);
  EXPECT_EQ(last_step_of_call("7", 40), 7);
  EXPECT_EQ(last_step_of_call("41", 40), 40);
  EXPECT_EQ(last_step_of_call("0.25x", 40), 10);
  EXPECT_EQ(last_step_of_call("0.25x", 41), 11) << "the first step with a quarter";
  EXPECT_EQ(last_step_of_call(fmt::format("{}x", 1. / 3), 9), 3);
  EXPECT_EQ(last_step_of_call("0.001x", 9), 1);
  EXPECT_EQ(last_step_of_call("1x", 9), 9);
  for (const char* text : {"0", "-1", "0.5", "0x", "-0.5x", "1.1x", "nanx", "x", "1e3", "half"})
    expect_error<UsageError>([&] { last_step_of_call(text, 9); },
                             {std::string("--until ") + text + ":", "0.25x"});
}

// They would silently do nothing. A run that has them from its beginning keeps them.
TEST(OptionTable, MuonsOptionsAreForMuon) {
  for (const char* name : {"muon-lr", "muon-decay", "muon-every"}) {
    TrainOptions options;
    EXPECT_NO_THROW(check_options(options));
    options.given = {name};
    const std::string option = std::string("--") + name;
    expect_error<UsageError>([&] { check_options(options); }, {option, "this run has adamw"});
    expect_error<UsageError>([&] { override_options(options, options, {name}); },
                             {option, "this run has adamw"});
    options.optimizer.algorithm = "muon";
    EXPECT_NO_THROW(check_options(options));
    EXPECT_NO_THROW(override_options(options, options, {name}));
    options.optimizer.algorithm = "adamw";
    options.recipe = "text";
    EXPECT_NO_THROW(check_options(options)) << "the recipe takes muon";
    options.given.insert("optimizer");
    expect_error<UsageError>([&] { check_options(options); }, {option, "this run has adamw"});
  }
}

TEST(OptionTable, PrecisionIsOneOfTwo) {
  TrainOptions options;
  options.precision = "fp16";
  expect_error<UsageError>([&] { check_options(options); },
                           {"--precision fp16", "float32 or bf16"});
  options.precision = "int8";
  expect_error<UsageError>([&] { check_options(options); },
                           {"--precision int8", "float32 or bf16", "generate"});
}

TEST(OptionTable, AutoKeepsTheRunsValue) {
  TrainOptions run, given;
  run.validation_tokens = 1000;
  run.warmup = 7;
  override_options(run, given, {"val-tokens"});
  EXPECT_EQ(run.validation_tokens, 1000);
  expect_error<UsageError>([&] { override_options(run, given, {"warmup"}); },
                           {"--warmup auto", "of 7 steps"});
}

}  // namespace
}  // namespace mmrec
