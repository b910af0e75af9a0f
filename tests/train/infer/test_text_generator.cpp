#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <map>
#include <set>
#include <vector>

#include "support/atomic_file.h"
#include "tests/common/expect_error.h"
#include "tests/common/kernel_test.h"
#include "tests/common/small_config.h"
#include "tests/common/temporary_directory.h"
#include "train/infer/stop_strings.h"
#include "train/infer/text_generator.h"
#include "train/infer/whole_characters.h"

namespace mmrec {
namespace {

// ---------------------------------------------------------------------------------------- choosing

const std::vector<float> kLogits = {9, 8, 2, -1, 4, 0, 3};  // <UNK> and <PAD> have the largest
constexpr int kFirst = 2;

/// Returns how often each token is chosen while `random` runs through [0, 1).
std::map<int32_t, double> chosen(const Sampling& sampling,
                                 const std::vector<int32_t>& recent = {}) {
  constexpr int kDraws = 20'000;
  Sampler sampler(sampling);
  std::map<int32_t, double> parts;
  for (int i = 0; i < kDraws; ++i)
    parts[sampler.choose(kLogits, recent, (i + 0.5) / kDraws)] += 1.0 / kDraws;
  return parts;
}

/// Returns the softmax of `logits` over the given tokens.
std::map<int32_t, double> softmax(const std::set<int32_t>& ids, double temperature = 1,
                                  std::vector<float> logits = kLogits) {
  std::map<int32_t, double> parts;
  double sum = 0;
  for (const int32_t id : ids) sum += parts[id] = std::exp(logits[id] / temperature);
  for (auto& [id, part] : parts) part /= sum;
  return parts;
}

void expect_close(const std::map<int32_t, double>& have, const std::map<int32_t, double>& want) {
  for (const auto& [id, part] : have)
    EXPECT_TRUE(want.contains(id)) << "token " << id << " was chosen";
  for (const auto& [id, part] : want)
    EXPECT_NEAR(have.contains(id) ? have.at(id) : 0, part, 1e-4) << "token " << id;
}

TEST(Sampler, FollowsTheSoftmaxOfAllCharacters) {
  for (const double temperature : {0.5, 1.0, 2.0})
    expect_close(chosen({.temperature = temperature}), softmax({2, 3, 4, 5, 6}, temperature));
}

TEST(Sampler, GreedyTakesTheMostProbableCharacter) {
  expect_close(chosen({.temperature = 100, .greedy = true}), {{4, 1.0}});
  expect_close(chosen({.temperature = 0}), {{4, 1.0}});
  expect_close(chosen({.temperature = 1e-30}), {{4, 1.0}});
}

TEST(Sampler, TopKKeepsTheMostProbable) {
  expect_close(chosen({.temperature = 1, .top_k = 1}), softmax({4}));
  expect_close(chosen({.temperature = 1, .top_k = 3}), softmax({2, 4, 6}));
  expect_close(chosen({.temperature = 1, .top_k = 1'000'000'000'000}), softmax({2, 3, 4, 5, 6}));
}

TEST(Sampler, TopPKeepsTheSmallestSetOfThatProbability) {
  const std::map<int32_t, double> all = softmax({2, 3, 4, 5, 6});  // in order: 4, 6, 2, 5, 3
  expect_close(chosen({.temperature = 1, .top_p = 1e-9}), softmax({4}));
  expect_close(chosen({.temperature = 1, .top_p = all.at(4) - 1e-6}), softmax({4}));
  expect_close(chosen({.temperature = 1, .top_p = all.at(4) + 1e-6}), softmax({4, 6}));
  expect_close(chosen({.temperature = 1, .top_p = all.at(4) + all.at(6) + 1e-6}),
               softmax({2, 4, 6}));
  // Applied to what top-k keeps: only 4 and 6.
  expect_close(chosen({.temperature = 1, .top_k = 2, .top_p = 0.99}), softmax({4, 6}));
}

TEST(Sampler, MinPKeepsWhatIsNearTheMostProbable) {
  const std::map<int32_t, double> all = softmax({2, 3, 4, 5, 6});  // in order: 4, 6, 2, 5, 3
  const auto part = [&](int32_t id) { return all.at(id) / all.at(4); };
  expect_close(chosen({.temperature = 1, .min_p = part(2) - 1e-6}), softmax({2, 4, 6}));
  expect_close(chosen({.temperature = 1, .min_p = part(2) + 1e-6}), softmax({4, 6}));
  expect_close(chosen({.temperature = 1, .min_p = 1}), softmax({4}));
}

TEST(WholeCharacters, HoldBackUnfinishedOnes) {
  WholeCharacters characters;
  EXPECT_EQ(characters.pass("a\xf0\x9f"), "a");
  EXPECT_EQ(characters.pass("\xa6"), "");
  EXPECT_EQ(characters.pass("\x8a\xc3"), "\U0001F98A");
  EXPECT_EQ(characters.pass("\xa9 b"), "é b");
  EXPECT_EQ(characters.rest(), "");
}

TEST(WholeCharacters, WhatIsNoCharacterIsReplaced) {
  WholeCharacters characters;
  EXPECT_EQ(characters.pass("a\x80z"), "a\uFFFDz");
  EXPECT_EQ(characters.pass("\xe2\x82"), "");
  EXPECT_EQ(characters.pass("z"), "\uFFFDz");
  EXPECT_EQ(characters.pass("\xed\xa0\x80."), "\uFFFD.") << "half a UTF-16 pair";
  EXPECT_EQ(characters.pass("\xf0\x9f\xa6"), "");
  EXPECT_EQ(characters.rest(), "\uFFFD") << "one character without its end";
  EXPECT_EQ(characters.rest(), "");
}

TEST(StopStrings, EndTheTextBeforeThem) {
  StopStrings stops({"END", "\n\n"});
  EXPECT_EQ(stops.pass("one "), "one ");
  EXPECT_EQ(stops.pass("EN"), "") << "may be the beginning of a stop";
  EXPECT_EQ(stops.pass("EMY\n"), "ENEMY");
  EXPECT_EQ(stops.pass("two E"), "\ntwo ");
  EXPECT_EQ(stops.pass("E"), "E");
  EXPECT_FALSE(stops.found());
  EXPECT_EQ(stops.pass("ND of it"), "");
  EXPECT_TRUE(stops.found());
  EXPECT_EQ(stops.pass("more"), "");
  EXPECT_EQ(stops.rest(), "");
}

TEST(StopStrings, TheEndOfTheTextIsNoStop) {
  StopStrings stops({"aab"});
  EXPECT_EQ(stops.pass("xa"), "x");
  EXPECT_EQ(stops.pass("a"), "");
  EXPECT_EQ(stops.pass("a"), "a");
  EXPECT_EQ(stops.rest(), "aa");
  EXPECT_FALSE(stops.found());
  StopStrings none({});
  EXPECT_EQ(none.pass("abc"), "abc");
  test::expect_error<UsageError>([] { StopStrings({"a", ""}); }, {"--stop"});
}

TEST(Sampler, PenalisesRecentTokens) {
  std::vector<float> logits = kLogits;
  logits[4] /= 2;
  logits[3] *= 2;
  expect_close(chosen({.temperature = 1, .repetition_penalty = 2}, {3, 4, 4}),
               softmax({2, 3, 4, 5, 6}, 1, logits));
  expect_close(chosen({.greedy = true, .repetition_penalty = 2}, {4}), {{6, 1.0}});
}

TEST(Sampler, RefusesUnusableLogits) {
  Sampler sampler({});
  const std::vector<float> specials = {1, 2};
  test::expect_error([&] { sampler.choose(specials, {}, 0.5); }, {"no characters"});
  for (const float bad :
       {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    const std::vector<float> logits = {0, 0, 1, bad};
    test::expect_error([&] { sampler.choose(logits, {}, 0.5); }, {"token 3", "cannot be used"});
  }
}

// -------------------------------------------------------------------------------------- generating

class TextGeneratorTest : public testing::Test {
 protected:
  static constexpr int kVocabulary = 19;
  static constexpr uint64_t kSeed = 9;

  TextGeneratorTest() : parameters_(config_) {
    parameters_.initialise(1);
    const Tensor embedding = parameters_.weight("embedding.weight");
    // makes some tokens much more probable than others
    for (int64_t i = 0; i < embedding.count(); ++i) embedding.data()[i] *= 3;
  }

  TextGenerator generator(const Sampling& sampling, int samples = 1) {
    return TextGenerator(config_, kVocabulary, parameters_, kSeed, sampling, samples);
  }

  static std::vector<int32_t> random_tokens(size_t count) {
    Random random;
    std::vector<int32_t> tokens;
    while (tokens.size() < count) tokens.push_back(random.below(kVocabulary));
    return tokens;
  }

  /// Returns thirty tokens per sample.
  std::vector<std::vector<int32_t>> texts(const Sampling& sampling, int samples = 1,
                                          const std::vector<int32_t>& prompt = {3}) {
    TextGenerator generator = this->generator(sampling, samples);
    generator.read_prompt(prompt);
    std::vector<std::vector<int32_t>> texts(samples);
    while (texts[0].size() < 30) {
      const std::span<const int32_t> ids = generator.choose();
      for (int b = 0; b < samples; ++b) texts[b].push_back(ids[b]);
      generator.read(ids);
    }
    return texts;
  }

  /// Returns the logits after each token of a text, [T][V'], computed in one pass.
  std::vector<float> full_pass(std::vector<int32_t> ids) {
    const int T = static_cast<int>(ids.size());
    std::vector<float> logits(ids.size() * kVocabulary);
    Model model(config_, kVocabulary, parameters_, T, 1, Model::Mode::kInference, kSeed);
    model.logits(IntTensor(ids.data(), {T, 1}), Tensor(logits.data(), {T, 1, kVocabulary}));
    return logits;
  }

  static void expect_logits(const Tensor& logits, int sample, const float* want) {
    for (int v = 0; v < kVocabulary; ++v)
      EXPECT_NEAR(logits.at(sample).data()[v], want[v], 1e-5)
          << "sample " << sample << ", token " << v;
  }

  ScopedThreads one_thread_{1};
  Config config_ = test::small_config(kVocabulary);
  Parameters parameters_;
};

TEST(NeutralPrompt, IsANewlineOrUnknown) {
  EXPECT_EQ(neutral_prompt(Tokenizer({{U'a', 5}, {U'\n', 4}})), std::vector<int32_t>{3});
  EXPECT_EQ(neutral_prompt(Tokenizer({{U'a', 5}, {U'\r', 4}})),
            std::vector<int32_t>{Tokenizer::kUnknown});
}

TEST_F(TextGeneratorTest, SeedDeterminesTheText) {
  const std::vector<std::vector<int32_t>> first = texts({.seed = 1});
  EXPECT_EQ(texts({.seed = 1}), first);
  EXPECT_NE(texts({.seed = 2}), first);
}

TEST_F(TextGeneratorTest, OnlyCharactersAreChosen) {
  const Tensor embedding = parameters_.weight("embedding.weight");
  for (int64_t i = 0; i < 2 * config_.dim; ++i)
    embedding.data()[i] = embedding.data()[10 * config_.dim + i] * 1.5f;
  for (const std::vector<int32_t>& text : texts({.temperature = 5}, 8))
    for (const int32_t id : text) EXPECT_GE(id, kFirst);
}

TEST_F(TextGeneratorTest, LogitsAreThoseOfTheFullForwardPass) {
  const std::vector<int32_t> ids = random_tokens(30);
  const std::vector<float> want = full_pass(ids);
  TextGenerator generator = this->generator({});
  for (size_t t = 0; t < ids.size(); ++t)
    expect_logits(generator.read(std::span(ids).subspan(t, 1)), 0, want.data() + t * kVocabulary);
}

TEST_F(TextGeneratorTest, EverySampleContinuesThePrompt) {
  for (const int length : {1, 2, 64, 65, 66, 200}) {
    SCOPED_TRACE(length);
    const std::vector<int32_t> prompt = random_tokens(length);
    TextGenerator generator = this->generator({}, 3);
    generator.read_prompt(prompt);
    const std::vector<int32_t> next = {5, 9, 2};
    const Tensor logits = generator.read(next);
    for (int b = 0; b < 3; ++b) {
      std::vector<int32_t> text = prompt;
      text.push_back(next[b]);
      expect_logits(logits, b, full_pass(text).data() + length * kVocabulary);
    }
  }
}

TEST_F(TextGeneratorTest, SamplesDifferAndTheFirstEqualsASingleText) {
  const std::vector<std::vector<int32_t>> three = texts({.seed = 1}, 3);
  EXPECT_EQ(three[0], texts({.seed = 1})[0]);
  EXPECT_EQ((std::set(three.begin(), three.end())).size(), 3u);
}

TEST_F(TextGeneratorTest, PenaltyCoversTheWindowIncludingThePrompt) {
  const Sampling sampling{.greedy = true, .repetition_penalty = 3, .repetition_window = 5};
  for (const std::vector<int32_t>& prompt :
       {std::vector<int32_t>{3}, std::vector<int32_t>{3, 4, 5, 6, 7, 8, 9}}) {
    const std::vector<int32_t> generated = texts(sampling, 1, prompt)[0];
    std::vector<int32_t> text = prompt;
    int changed = 0;
    for (const int32_t id : generated) {
      const std::vector<float> logits = full_pass(text);
      std::vector<float> last(logits.end() - kVocabulary, logits.end());
      const auto likeliest = [&] {
        return static_cast<int32_t>(std::max_element(last.begin() + kFirst, last.end()) -
                                    last.begin());
      };
      const int32_t unpenalised = likeliest();
      for (const int32_t used :
           std::set(text.end() - std::min<int64_t>(5, std::ssize(text)), text.end()))
        last[used] *= last[used] > 0 ? 1 / 3.f : 3.f;
      EXPECT_EQ(id, likeliest()) << "token " << text.size();
      changed += id != unpenalised;
      text.push_back(id);
    }
    EXPECT_GT(changed, 3) << "the penalty has hardly any effect";
  }
}

// A text that is saved in the middle and continued by another generator ends like one that is not.
TEST_F(TextGeneratorTest, GoesOnWithASavedText) {
  const test::TemporaryDirectory directory;
  const std::filesystem::path file = directory / "state";
  const Sampling sampling{.repetition_penalty = 1.5, .repetition_window = 9, .seed = 3};
  const auto write = [](TextGenerator& generator, int tokens) {
    std::vector<int32_t> text;
    while (std::ssize(text) < tokens) {
      text.push_back(generator.choose()[0]);
      generator.read(std::span(text).last(1));
    }
    return text;
  };
  const std::vector<int32_t> prompt = random_tokens(70), second = random_tokens(70);
  TextGenerator whole = generator(sampling);
  whole.read_prompt(prompt);
  write(whole, 20);
  for (const int32_t id : second) whole.read(std::span(&id, 1));

  TextGenerator begun = generator(sampling);
  begun.read_prompt(prompt);
  write(begun, 20);
  save_text_state(file, begun.state(), "these weights");
  TextGenerator again = generator(sampling);
  again.go_on(load_text_state(file, "these weights"));
  again.read_prompt(second);
  EXPECT_EQ(again.state().tokens, 160);
  EXPECT_EQ(write(again, 30), write(whole, 30));

  test::expect_error([&] { load_text_state(file, "others"); },
                     {"state", "these weights", "others"});
  TextState wrong = begun.state();
  wrong.width /= 2;
  wrong.values.resize(wrong.values.size() / 2);
  test::expect_error([&] { again.go_on(wrong); }, {"the state", "32"});
  write_file_atomically(file, "no state");
  test::expect_error([&] { load_text_state(file, "these weights"); }, {file.string()});
}

TEST_F(TextGeneratorTest, ReadsATextInPartsOfAnyLength) {
  const std::vector<int32_t> text = random_tokens(200);
  const std::span<const int32_t> all(text);
  TextGenerator whole = generator({});
  whole.read_prompt(all);

  TextGenerator parts = generator({});
  parts.read_prompt(all.first(70));
  parts.advance(all.subspan(70, 100));
  const std::string saved = text_state_content(parts.state(), "weights");
  const auto expect_rest_as_in_whole = [&] {
    parts.advance({});
    parts.read_prompt(all.last(30));
    const TextState have = parts.state(), want = whole.state();
    EXPECT_EQ(have.tokens, want.tokens);
    EXPECT_EQ(have.recent, want.recent);
    ASSERT_EQ(have.values.size(), want.values.size());
    for (size_t i = 0; i < have.values.size(); ++i)
      EXPECT_NEAR(have.values[i], want.values[i], 1e-5);
  };
  expect_rest_as_in_whole();
  parts.go_on(parse_text_state(saved, "the state", "weights"));
  expect_rest_as_in_whole();

  test::expect_error([&] { parse_text_state(saved.substr(1), "the state", "weights"); },
                     {"the state", "no saved state"});
}

TEST_F(TextGeneratorTest, WrongUseThrows) {
  TextGenerator generator = this->generator({});
  const auto read = [&](std::vector<int32_t> ids) { generator.read(ids); };
  test::expect_error([&] { read({kVocabulary}); }, {"id 19"});
  test::expect_error([&] { read({-1}); }, {"id -1"});
  test::expect_error<UsageError>([&] { read({1, 2}); }, {"2 tokens for 1 samples"});
  test::expect_error<UsageError>([&] { generator.read_prompt({}); }, {"at least one character"});
}

}  // namespace
}  // namespace mmrec
