#include "train/run/recipe.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "tests/common/expect_error.h"
#include "train/data/piece_model.h"
#include "train/data/tokenizer.h"
#include "train/run/options_json.h"
#include "train/run/run_time.h"

namespace mmrec {
namespace {

using test::expect_error;

Tokenizer characters() {
  CharacterCounts counts;
  count_characters("ab", "a test", counts);
  return Tokenizer(counts, 0);
}

Tokenizer pieces() {
  return Tokenizer::parse(PieceModel::train({"some words"}, PieceModel::kMinSize),
                          "tokenizer.model");
}

RunData text_of(int tokens, const Tokenizer& tokenizer = characters()) {
  return {tokenizer,
          Tokens(std::vector<int32_t>(static_cast<size_t>(tokens), 2)),
          Tokens(std::vector<int32_t>(100, 3)),
          {},
          "",
          ""};
}

int64_t no_time(double, const TrainOptions&) {
  ADD_FAILURE() << "nobody asked for a time";
  return 1;
}

/// The options of a run on a text of one's own.
TrainOptions own_text(std::set<std::string> given = {}) {
  TrainOptions options;
  options.recipe = "auto";
  options.data = "book.txt";
  options.given = std::move(given);
  return options;
}

double tokens_of(const TrainOptions& o) {
  return static_cast<double>(o.steps) * o.batch * o.accumulate * o.sequence;
}

TEST(Recipe, IsForTextsOfOnesOwn) {
  TrainOptions options = own_text();
  EXPECT_TRUE(has_recipe(options));
  options.recipe = "documented";
  EXPECT_FALSE(has_recipe(options));
  options = {};
  EXPECT_FALSE(has_recipe(options)) << "a library's default";
  options.recipe = "auto";
  EXPECT_FALSE(has_recipe(options)) << "sample: the documented run";
  options.recipe = "text";
  EXPECT_TRUE(has_recipe(options));
  expect_error<UsageError>([] { check_recipe("best"); }, {"best", "documented"});
}

// The documented run is not touched, byte for byte.
TEST(Recipe, DocumentedRunStays) {
  TrainOptions options;
  options.recipe = "auto";
  const std::string before = to_json(options).dump();
  EXPECT_EQ(apply_recipe(options, text_of(65'000), no_time), "");
  EXPECT_EQ(to_json(options).dump(), before);
}

TEST(Recipe, ChoosesByTheSizeOfTheText) {
  TrainOptions small = own_text(), medium = own_text(), large = own_text();
  apply_recipe(small, text_of(50'000), no_time);
  apply_recipe(medium, text_of(1'000'000), no_time);
  const std::string line = apply_recipe(large, text_of(20'000'000), no_time);
  EXPECT_NEAR(tokens_of(small), 3e5, 2000);
  EXPECT_NEAR(tokens_of(medium), 2e6, 2000);
  EXPECT_NEAR(tokens_of(large), 1e7, 2000);
  EXPECT_GT(small.dropout, 0) << "six times through the text";
  EXPECT_EQ(medium.dropout, 0);
  EXPECT_EQ(large.dropout, 0);
  EXPECT_LT(large.optimizer.muon_learning_rate, medium.optimizer.muon_learning_rate);
  EXPECT_GT(large.batch, small.batch);
  for (const TrainOptions& options : {small, medium, large}) {
    EXPECT_EQ(options.optimizer.algorithm, "muon");
    EXPECT_LE(warmup_steps(options, options.steps), options.steps / 10);
    EXPECT_NEAR(static_cast<double>(options.steps) / static_cast<double>(options.eval_every),
                validation_count(tokens_of(options)), 1);
    EXPECT_NO_THROW(check_options(options));
  }
  EXPECT_EQ(validation_count(tokens_of(large)), 20);
  EXPECT_LT(validation_count(tokens_of(small)), 10) << "they would take too much of the time";
  EXPECT_NE(line.find("recipe: "), line.npos) << line;
  EXPECT_NE(line.find("muon"), line.npos) << line;
}

// Pieces where there is enough text to find them in, and room for them.
TEST(Recipe, ChoosesTokensByTheSizeOfTheText) {
  const auto choice = [](const TrainOptions& options, int64_t bytes) {
    const TokenChoice tokens = tokens_of_run(options, bytes);
    return std::pair(tokens.kind, tokens.limit);
  };
  const TrainOptions automatic = own_text(), documented;
  const std::pair all_characters(TokenKind::kCharacter, 0);
  EXPECT_EQ(choice(automatic, 50'000), all_characters);
  EXPECT_EQ(choice(automatic, 599'999), all_characters);
  EXPECT_EQ(choice(automatic, 600'000), std::pair(TokenKind::kPiece, 666));
  EXPECT_EQ(choice(automatic, 1'000'000), std::pair(TokenKind::kPiece, 1111));
  EXPECT_EQ(choice(automatic, 1'000'000'000), std::pair(TokenKind::kPiece, 4096));
  EXPECT_EQ(choice(documented, 10'000'000), all_characters);
  TrainOptions given = automatic, few = automatic, some = automatic;
  given.tokenizer = "char";
  few.vocabulary = 300;
  some.vocabulary = 1000;
  EXPECT_EQ(choice(given, 10'000'000), all_characters);
  EXPECT_EQ(choice(few, 10'000'000), std::pair(TokenKind::kCharacter, 300));
  EXPECT_EQ(choice(some, 10'000'000), std::pair(TokenKind::kPiece, 1000));
}

// What --help says.
TEST(Recipe, NamesTheOptionsThatItChooses) {
  const TrainOptions before = own_text();
  TrainOptions after = before;
  apply_recipe(after, text_of(500'000, pieces()), no_time);
  const nlohmann::json was = to_json(before), is = to_json(after);
  for (const auto& [name, value] : is.items())
    EXPECT_EQ(recipe_chooses(name), value != was[name]) << name;
}

TEST(Recipe, WhatIsGivenCounts) {
  TrainOptions options = own_text({"lr", "batch", "steps", "optimizer", "dropout", "eval-every"});
  options.optimizer.algorithm = "adamw";
  options.optimizer.learning_rate = 1e-3f;
  options.batch = 3;
  options.steps = 17;
  options.dropout = 0.3f;
  options.eval_every = 5;
  const std::string line = apply_recipe(options, text_of(1'000'000), no_time);
  EXPECT_NE(line.find("a validation every 5 steps"), line.npos) << line;
  EXPECT_EQ(options.optimizer.algorithm, "adamw");
  EXPECT_EQ(options.optimizer.learning_rate, 1e-3f);
  EXPECT_EQ(options.batch, 3);
  EXPECT_EQ(options.steps, 17);
  EXPECT_EQ(options.dropout, 0.3f);
  EXPECT_EQ(options.eval_every, 5);
  EXPECT_EQ(options.sequence, 128);
  TrainOptions by_epoch = own_text({"eval-every"});
  const std::string of_epochs = apply_recipe(by_epoch, text_of(1'000'000), no_time);
  EXPECT_NE(of_epochs.find("; one validation an epoch ("), of_epochs.npos) << of_epochs;
}

// One option makes a run more careful, and trained weights are changed carefully.
TEST(Recipe, RatesGoTogether) {
  TrainOptions standard = own_text(), careful = own_text({"lr"}), tuned = own_text(),
               both = own_text({"lr", "muon-lr"});
  careful.optimizer.learning_rate = both.optimizer.learning_rate = 6e-4f;
  tuned.init = "a checkpoint";
  for (TrainOptions* options : {&standard, &careful, &tuned, &both})
    apply_recipe(*options, text_of(1'000'000), no_time);
  const float rate = standard.optimizer.muon_learning_rate;
  EXPECT_NEAR(careful.optimizer.muon_learning_rate, rate / 10, 1e-6);
  EXPECT_NEAR(tuned.optimizer.learning_rate, standard.optimizer.learning_rate / 6, 1e-6);
  EXPECT_NEAR(tuned.optimizer.muon_learning_rate, rate / 6, 1e-6);
  EXPECT_EQ(both.optimizer.muon_learning_rate, OptimizerSettings().muon_learning_rate);
  TrainOptions resumed = standard, given;
  given.optimizer.learning_rate = standard.optimizer.learning_rate / 4;
  override_options(resumed, given, {"lr"});
  EXPECT_NEAR(resumed.optimizer.muon_learning_rate, rate / 4, 1e-6);
}

TEST(Recipe, PiecesHaveRatesOfTheirOwn) {
  TrainOptions by_character = own_text(), by_piece = own_text(), longer = own_text(),
               adamw = own_text({"optimizer"});
  adamw.optimizer.algorithm = "adamw";
  apply_recipe(by_character, text_of(1'000'000), no_time);
  for (TrainOptions* options : {&by_piece, &adamw})
    apply_recipe(*options, text_of(500'000, pieces()), no_time);
  apply_recipe(longer, text_of(5'000'000, pieces()), no_time);
  const OptimizerSettings &characters = by_character.optimizer, &some = by_piece.optimizer,
                          &many = longer.optimizer;
  EXPECT_GT(some.learning_rate, characters.learning_rate);
  EXPECT_LT(some.muon_learning_rate, characters.muon_learning_rate);
  EXPECT_EQ(many.learning_rate, some.learning_rate);
  EXPECT_EQ(many.muon_learning_rate, some.muon_learning_rate);
  EXPECT_EQ(some.muon_every, 2) << "2 million tokens";
  EXPECT_EQ(many.muon_every, 1) << "10 million";
  EXPECT_EQ(characters.muon_every, 1);
  EXPECT_EQ(adamw.optimizer.learning_rate, characters.learning_rate)
      << "there it is the rate of the hidden matrices, too";
}

// What was chosen for the length that the recipe guesses is timed; the time then gives another.
TEST(Recipe, TimeIsFittedToTheStepsThatTheRunTakes) {
  TrainOptions options = own_text({"time"});
  options.time = "5m";
  apply_recipe(options, text_of(500'000, pieces()), [](double, const TrainOptions& timed) {
    return timed.optimizer.muon_every == 1 ? 5000 : 5500;
  });
  EXPECT_EQ(options.optimizer.muon_every, 1) << "8 million pieces";
  EXPECT_EQ(options.steps, 5000);
}

// Of a long text a short run of pieces takes more, shorter windows.
TEST(Recipe, WindowsAreShortWhereThereIsMoreTextThanTime) {
  const auto run = [](int text, const Tokenizer& tokenizer, double tokens) {
    TrainOptions options = own_text({"time"});
    options.time = "1m";
    apply_recipe(options, text_of(text, tokenizer), [&](double, const TrainOptions& o) {
      return std::llround(tokens / o.batch / o.sequence);
    });
    return std::pair(options.batch, options.sequence);
  };
  EXPECT_EQ(run(4'000'000, pieces(), 1.8e6), std::pair(24, 64));
  EXPECT_EQ(run(4'000'000, pieces(), 3e6), std::pair(12, 128)) << "more time";
  EXPECT_EQ(run(1'000'000, pieces(), 1.8e6), std::pair(12, 128)) << "less text";
  EXPECT_EQ(run(4'000'000, characters(), 1.8e6), std::pair(12, 128));
}

// A larger model where the time is long, few layers where it is short; their speed is measured,
// too.
TEST(Recipe, TheTimeChoosesTheSize) {
  const auto run = [](TrainOptions options, double tiny_tokens, int text = 4'000'000,
                      const Tokenizer& tokenizer = pieces()) {
    options.time = "20m";
    options.given.insert("time");
    const std::string line =
        apply_recipe(options, text_of(text, tokenizer), [&](double, const TrainOptions& o) {
          const double tokens =
              tiny_tokens * std::pow(128. / o.config.dim, 2) * 4 / o.config.layers;
          return std::llround(tokens / o.batch / o.sequence);
        });
    return std::pair(options, line);
  };
  using Size = std::pair<int, int>;  // dim, layers
  const auto size = [](const TrainOptions& o) { return Size(o.config.dim, o.config.layers); };
  const Size tiny = size(TrainOptions());
  const auto [least, least_line] = run(own_text(), 2e6);
  const auto [medium, medium_line] = run(own_text(), 2e7);
  const auto [large, large_line] = run(own_text(), 6e7);
  EXPECT_EQ(size(least), Size(128, 1));
  EXPECT_EQ(size(run(own_text(), 5e6).first), Size(192, 1));
  EXPECT_EQ(size(run(own_text(), 1e7).first), Size(192, 2));
  EXPECT_EQ(size(medium), Size(192, 4));
  EXPECT_EQ(size(large), Size(preset("mini").dim, preset("mini").layers));
  EXPECT_EQ(least_line.find("recipe: 1 layer of 128, "), 0u) << least_line;
  EXPECT_EQ(medium_line.find("recipe: 4 layers of 192, "), 0u) << medium_line;
  EXPECT_EQ(large_line.find("recipe: 6 layers of 256, "), 0u) << large_line;

  EXPECT_NEAR(tokens_of(least), 2e6 * 4, 2000);
  EXPECT_NEAR(tokens_of(medium), 2e7 * 4 / 9, 2000);
  EXPECT_NEAR(tokens_of(large), 1e7, 2000);
  EXPECT_EQ(std::pair(least.batch, least.sequence), std::pair(24, 64)) << "by tiny's tokens";
  EXPECT_EQ(least.optimizer.muon_every, 2);
  EXPECT_LT(large.optimizer.learning_rate, medium.optimizer.learning_rate) << "for its width";
  EXPECT_LT(medium.optimizer.learning_rate, least.optimizer.learning_rate);
  const auto [capped, capped_line] = run(own_text(), 5e8);
  EXPECT_NEAR(tokens_of(capped), 10 * 4e6, 2000) << "then it would learn the text by heart";
  EXPECT_NE(capped_line.find("it ends before 20m"), capped_line.npos) << capped_line;

  const auto [same, same_line] = run(own_text(), 2e6, 1'500'000);
  EXPECT_EQ(size(same), tiny) << "more than once";
  EXPECT_EQ(same_line.find("layer"), same_line.npos) << same_line;
  EXPECT_EQ(size(run(own_text(), 5e6, 900'000).first), tiny) << "many times";
  EXPECT_EQ(size(run(own_text(), 2e6, 4'000'000, characters()).first), tiny);
  EXPECT_EQ(size(run(own_text(), 6e7, 400'000).first), tiny) << "too short";
  EXPECT_EQ(size(run(own_text({kSize}), 5e7).first), tiny) << "somebody gave it";
  TrainOptions further = own_text({"init"});
  further.init = "checkpoints/book";
  EXPECT_EQ(size(run(further, 5e7).first), tiny) << "the checkpoint's";
}

TEST(Recipe, EpochsGiveTheLength) {
  TrainOptions options = own_text({"epochs"});
  options.epochs = 8;
  apply_recipe(options, text_of(100'000), no_time);
  EXPECT_EQ(options.steps, 0) << "counted in epochs";
  EXPECT_EQ(options.epochs, 8);
  EXPECT_GT(options.dropout, 0);
}

// The steps are those of the batch that is chosen, in the line and for all that depends on them.
TEST(Recipe, StepsGiveTheLength) {
  TrainOptions many = own_text({"steps"}), few = many, epochs = own_text({"epochs"}),
               growing = own_text({"grow"});
  many.steps = 3000;
  few.steps = 100;
  epochs.epochs = 3;
  growing.grow = "tiny:3000,mini:1000";
  const auto line = [](TrainOptions& options, int tokens) {
    return apply_recipe(options, text_of(tokens), no_time);
  };
  const std::string of_many = line(many, 1'000'000), of_few = line(few, 16'000),
                    of_epochs = line(epochs, 4'000), of_growing = line(growing, 1'000'000);
  EXPECT_NE(of_many.find("recipe: 3000 steps of 12 x 128, 4.6 times"), of_many.npos) << of_many;
  EXPECT_EQ(many.eval_every, 150);
  EXPECT_NE(of_few.find("recipe: 100 steps of 3 x 128, 2.4 times"), of_few.npos) << of_few;
  EXPECT_EQ(few.eval_every, 50);
  EXPECT_EQ(few.dropout, 0);
  EXPECT_NE(of_epochs.find("recipe: 9 steps of 8 x 128, 3.0 times"), of_epochs.npos) << of_epochs;
  EXPECT_NE(of_growing.find("recipe: 4000 steps of 12 x 128"), of_growing.npos) << of_growing;
}

// A short text is soon known by heart.
TEST(Recipe, DropoutIsForManyTimesThroughTheText) {
  const auto dropout_of = [](int64_t tokens, int epochs) {
    TrainOptions options = own_text({"epochs"});
    options.epochs = epochs;
    apply_recipe(options, text_of(tokens), no_time);
    return options.dropout;
  };
  for (const int64_t tokens : {100'000, 1'000'000}) {
    EXPECT_EQ(dropout_of(tokens, 4), 0);
    EXPECT_GT(dropout_of(tokens, 8), 0);
    EXPECT_GT(dropout_of(tokens, 30), dropout_of(tokens, 8));
  }
  EXPECT_LT(dropout_of(1'000'000, 8), dropout_of(100'000, 8));
}

TEST(Recipe, NoStepBeginsAnotherEpoch) {
  for (const int64_t tokens : {50'000, 390'123, 1'003'854}) {
    TrainOptions options = own_text();
    apply_recipe(options, text_of(tokens), no_time);
    const int64_t epoch = (tokens - 1) / options.sequence / options.batch;
    EXPECT_TRUE(options.steps % epoch == 0 || options.steps % epoch > epoch / 20)
        << options.steps << " steps, " << epoch << " an epoch";
  }
}

// A text that is shorter than a step, or than a window.
TEST(Recipe, ShortTexts) {
  const auto check = [](TrainOptions options, int tokens) {
    apply_recipe(options, text_of(tokens), no_time);
    EXPECT_LT(options.sequence, tokens);
    EXPECT_GE(options.batch, 1);
    const int windows = (tokens - 1) / options.sequence;
    EXPECT_LE(options.batch, windows / options.carry * options.carry) << tokens;
    EXPECT_NO_THROW(check_options(options));
  };
  TrainOptions carried = own_text({"carry"}), one_step = own_text({"steps"});
  carried.carry = 4;
  one_step.steps = 1;
  for (const int tokens : {2, 3, 50, 129, 500, 512}) {
    check(own_text(), tokens);
    check(one_step, tokens);
  }
  check(carried, 1000);
}

TEST(Recipe, TimeBecomesSteps) {
  TrainOptions options = own_text({"time"});
  options.time = "10m";
  double asked = 0;
  apply_recipe(options, text_of(20'000'000), [&](double seconds, const TrainOptions& chosen) {
    asked = seconds;
    return static_cast<int64_t>(seconds * 20'000 / chosen.batch / chosen.sequence);
  });
  EXPECT_EQ(asked, 600);
  EXPECT_NEAR(tokens_of(options), 12e6, 2000);
  EXPECT_EQ(options.batch, 12) << "the batch is that of so long a run";
  TrainOptions documented;
  documented.time = "1m";
  const std::string line =
      apply_recipe(documented, text_of(65'000), [](double, const TrainOptions&) { return 99; });
  EXPECT_EQ(documented.steps, 99);
  EXPECT_EQ(documented.optimizer.algorithm, "adamw");
  EXPECT_NE(line.find("99 steps"), line.npos) << line;
}

// For a time the steps depend on the machine anyway, and bf16 makes more of them.
TEST(Recipe, TimeIsUsedInBf16) {
  const auto precision = [](TrainOptions options, bool has_bf16) {
    choose_precision(options, has_bf16);
    return options.precision;
  };
  TrainOptions options = own_text();
  EXPECT_EQ(precision(options, true), "float32");
  options.time = "10m";
  EXPECT_EQ(precision(options, true), "bf16");
  EXPECT_EQ(precision(options, false), "float32");
  options.given = {"precision"};
  EXPECT_EQ(precision(options, true), "float32");
  options.given = {};
  options.recipe = "documented";
  EXPECT_EQ(precision(options, true), "float32");

  options = own_text();
  options.time = "10m";
  const auto line = [&] {
    return apply_recipe(options, text_of(1'000'000),
                        [](double, const TrainOptions&) { return 99; });
  };
  EXPECT_EQ(line().find("bf16"), std::string::npos);
  options.precision = "bf16";
  EXPECT_NE(line().find("99 steps of 8 x 128 in bf16,"), std::string::npos) << line();
}

// Validations, checkpoints and the sample take of the time, too.
TEST(Recipe, TimeIsForAllThatARunDoes) {
  TrainOptions options = own_text({"time"});
  options.batch = 12;
  options.sequence = 128;
  const RunData data = text_of(20'000'000);
  for (const RunCosts& costs : {RunCosts{.step = 0.05}, RunCosts{.step = 0.05, .save = 0.1},
                                RunCosts{.step = 0.05, .save = 0.5, .sample = 5},
                                RunCosts{.step = 0.05, .validated_token = 0.02}}) {
    const int64_t steps = steps_within(60, costs, options, data);
    EXPECT_NEAR(run_seconds(costs, options, steps, data), 60, 0.02 * 60);
    const double step_alone = static_cast<double>(steps) * costs.step;
    TrainOptions chosen = options;
    choose_intervals(chosen, steps);
    const double validations = static_cast<double>(steps) / static_cast<double>(chosen.eval_every),
                 saves = static_cast<double>(steps) / static_cast<double>(chosen.save_every);
    EXPECT_NEAR(step_alone + validations * 100 * costs.validated_token +
                    (validations + saves) * costs.save + costs.sample,
                60, 3);
  }
  EXPECT_EQ(steps_within(60, {.step = 0.05, .save = 100}, options, data), 1);
  EXPECT_EQ(steps_within(-1, {.step = 0.05}, options, data), 1) << "the time is over already";
  options.save_every = 0;
  options.eval_every = 300;
  options.sample_every = 100;
  options.given = {"eval-every", "save-every"};
  EXPECT_DOUBLE_EQ(run_seconds({.step = 1, .validated_token = 0.1, .save = 10, .sample = 2},
                               options, 1000, data),
                   1000 + 4 * 10 + 5 * 10 + 11 * 2);
}

// More often through so short a text would only make the model worse.
TEST(Recipe, ShortTextsEndBeforeTheirTime) {
  const auto line = [](TrainOptions& options, int64_t steps) {
    options.time = "10m";
    return apply_recipe(options, text_of(50'000),
                        [&](double, const TrainOptions&) { return steps; });
  };
  TrainOptions options = own_text({"time"}), busy = options;
  const std::string early = line(options, 10'000), in_time = line(busy, 100);
  EXPECT_NEAR(tokens_of(options), 3e5, 2000);
  TrainOptions longer = own_text({"time"});
  longer.time = "1h";
  apply_recipe(longer, text_of(240'000), [](double, const TrainOptions&) { return 100'000; });
  EXPECT_NEAR(tokens_of(longer), 20 * 240e3, 2000) << "a time for each 12,000 tokens";
  EXPECT_NE(early.find("it ends before 10m"), early.npos) << early;
  EXPECT_EQ(in_time.find("10m"), in_time.npos) << in_time;
}

TEST(Recipe, Durations) {
  EXPECT_EQ(parse_duration("90"), 90);
  EXPECT_EQ(parse_duration("90s"), 90);
  EXPECT_EQ(parse_duration("1.5m"), 90);
  EXPECT_EQ(parse_duration("1h30m"), 5400);
  for (const char* wrong :
       {"", "0", "m", "1h30", "5x", "5 m", "-3", "1e3", "1h30x", "5mm", "99999999h"})
    expect_error<UsageError>([&] { parse_duration(wrong); }, {"--time", "5m"});
}

}  // namespace
}  // namespace mmrec
