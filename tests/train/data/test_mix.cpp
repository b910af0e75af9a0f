#include "train/data/mix.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "tests/common/expect_error.h"
#include "train/data/tokenizer.h"

namespace mmrec {
namespace {

using test::expect_error;

MixText source(std::string_view content, bool has_documents, int64_t bytes, double weight) {
  const auto file = make_temporary_file();
  file->write(std::as_bytes(std::span(content)));
  return {DataFile("a source", file, 0, std::ssize(content)), has_documents, bytes, weight};
}

MixText text(std::string_view content, double weight) {
  return source(content, false, std::ssize(content), weight);
}

MixText documents(const std::vector<std::string>& all, double weight) {
  std::string content;
  for (const std::string& document : all) (content += document) += kEndOfDocument;
  return source(content, true, std::ssize(content) - std::ssize(all), weight);
}

/// Documents of about 100 bytes that begin with a letter and their number.
std::vector<std::string> numbered(char letter, int count) {
  std::vector<std::string> all;
  for (int i = 0; i < count; ++i)
    all.push_back(fmt::format("{}{:05} {}\n\n", letter, i,
                              std::string(static_cast<size_t>(80 + i * 7919 % 40), letter)));
  return all;
}

struct Mixed {
  std::vector<std::string> pieces;
  std::vector<int64_t> taken;
  std::string text;
};

Mixed mixed(const std::vector<MixText>& texts) {
  Mixed result;
  result.taken = mix(texts, [&](std::string_view piece) {
    result.pieces.emplace_back(piece);
    result.text += piece;
  });
  return result;
}

TEST(Mix, Arguments) {
  const auto expect = [](std::string_view text, std::string_view path, double weight) {
    const MixArgument argument = parse_mix(text);
    EXPECT_EQ(argument.path, path);
    EXPECT_EQ(argument.weight, weight);
  };
  expect("wiki.xml.bz2=2", "wiki.xml.bz2", 2);
  expect("code/=0.5", "code/", 0.5);
  expect("a=b=1e3", "a=b", 1000);
  expect("a=2=1", "a=2", 1);
  expect("book.txt", "book.txt", 1);
  expect("lang=en/x.txt", "lang=en/x.txt", 1);
  expect("-=3", "-", 3);
  for (const char* text : {"a=0", "a=-1", "a=-0", "a=nan", "a=inf", "a=-inf"})
    expect_error<UsageError>([&] { parse_mix(text); }, {"--mix", text, "a positive number"});
  expect_error<UsageError>([] { parse_mix("=2"); }, {"--mix =2", "PATH=WEIGHT"});
  expect_error<UsageError>([] { parse_mix(""); }, {"--mix", "PATH=WEIGHT"});
  // What is no number belongs to the path, which then is not there.
  expect("a=two", "a=two", 1);
  expect("a=", "a=", 1);
}

TEST(Mix, WeightsAreSharesOfTheBytes) {
  for (const auto& [first, second] : std::vector<std::pair<double, double>>{
           {1, 1}, {3, 1}, {1, 2.5}, {0.01, 0.02}, {5e300, 5e300}}) {
    SCOPED_TRACE(fmt::format("{} to {}", first, second));
    const std::vector<MixText> texts = {documents(numbered('a', 900), first),
                                        documents(numbered('b', 1100), second)};
    const int64_t all = texts[0].bytes + texts[1].bytes;
    const Mixed result = mixed(texts);
    for (const MixPart& part : parts_of_mix(texts)) EXPECT_FALSE(part.is_limited);
    EXPECT_EQ(std::ssize(result.text), result.taken[0] + result.taken[1]);
    EXPECT_NEAR(static_cast<double>(std::ssize(result.text)), static_cast<double>(all), 130);
    // At every place each source is as far as its weight says, up to a document.
    double taken_a = 0, taken = 0;
    for (const std::string& piece : result.pieces) {
      taken += static_cast<double>(piece.size());
      if (piece[0] == 'a') taken_a += static_cast<double>(piece.size());
      ASSERT_NEAR(taken_a, taken * (first / second / (first / second + 1)), 130);
    }
  }
}

TEST(Mix, WithWeightsLikeTheSizesEverythingComesOnce) {
  const std::vector<std::string> a = numbered('a', 300), b = numbered('b', 50),
                                 c = numbered('c', 1);
  std::vector<MixText> texts = {documents(a, 1), documents(b, 1), documents(c, 1)};
  for (MixText& text : texts) text.weight = static_cast<double>(text.bytes);
  const Mixed result = mixed(texts);
  std::vector<std::string> of_a, of_b;
  for (const std::string& piece : result.pieces)
    if (piece[0] != 'c') (piece[0] == 'a' ? of_a : of_b).push_back(piece);
  EXPECT_EQ(of_a, a);
  EXPECT_EQ(of_b, b);
  EXPECT_EQ(result.pieces.size(), 351u);
}

TEST(Mix, ASourceThatEndsBeginsAnew) {
  const std::vector<std::string> small = numbered('s', 10);
  const std::vector<MixText> texts = {documents(small, 1), documents(numbered('l', 400), 20)};
  const Mixed result = mixed(texts);
  std::vector<std::string> of_small;
  for (const std::string& piece : result.pieces)
    if (piece[0] == 's') of_small.push_back(piece);
  EXPECT_NEAR(static_cast<double>(result.taken[0]),
              static_cast<double>(result.taken[0] + result.taken[1]) / 21, 130);
  ASSERT_GT(of_small.size(), 10u);
  for (size_t i = 0; i < of_small.size(); ++i) EXPECT_EQ(of_small[i], small[i % 10]);
}

TEST(Mix, NoneIsGoneThroughMoreThanFourTimes) {
  const std::vector<std::string> small = numbered('s', 10), one = numbered('o', 1);
  const std::vector<MixText> texts = {documents(small, 1), documents(one, 1e9),
                                      documents(numbered('l', 4000), 1),
                                      documents(numbered('m', 4000), 3)};
  const std::vector<MixPart> parts = parts_of_mix(texts);
  EXPECT_TRUE(parts[0].is_limited && parts[1].is_limited);
  EXPECT_FALSE(parts[2].is_limited || parts[3].is_limited);
  EXPECT_DOUBLE_EQ(parts[3].bytes, 3 * parts[2].bytes) << "the others share what is left";
  EXPECT_NEAR(parts[1].asked, 1, 1e-8);
  const Mixed result = mixed(texts);
  EXPECT_EQ(result.taken[0], 4 * texts[0].bytes);
  EXPECT_EQ(result.taken[1], 4 * texts[1].bytes);
  EXPECT_NEAR(
      static_cast<double>(std::ssize(result.text)),
      static_cast<double>(texts[0].bytes + texts[1].bytes + texts[2].bytes + texts[3].bytes), 260);
  // They are all over the text.
  size_t place = 0;
  for (int i = 1; i <= 4; ++i) {
    place = result.text.find(one[0], place) + 1;
    EXPECT_NEAR(static_cast<double>(place), static_cast<double>(result.text.size()) / 4 * i, 300);
  }
}

TEST(Mix, OfALargeSourceThereArePiecesFromAllOverIt) {
  const Mixed result =
      mixed({documents(numbered('l', 4000), 1), documents(numbered('s', 1000), 9)});
  std::vector<int> numbers;
  for (const std::string& piece : result.pieces)
    if (piece[0] == 'l') numbers.push_back(std::stoi(piece.substr(1, 5)));
  ASSERT_GT(numbers.size(), 900u);
  const double apart = 4000. / static_cast<double>(numbers.size());
  for (size_t i = 1; i + 1 < numbers.size(); ++i)  // the last may be of another pass
    ASSERT_NEAR(numbers[i] - numbers[i - 1], apart, 2);
}

TEST(Mix, ExtremeWeights) {
  for (const double least : {1e-300, 1e-12}) {
    const std::vector<MixText> texts = {documents(numbered('a', 100), 1e300),
                                        documents(numbered('b', 100), least)};
    const Mixed result = mixed(texts);
    EXPECT_EQ(result.taken[1], 0);
    EXPECT_NEAR(static_cast<double>(result.taken[0]),
                static_cast<double>(texts[0].bytes + texts[1].bytes), 130);
    // The limited source has the larger weight: what is left has a share of almost nothing.
    const std::vector<MixText> others = {documents(numbered('a', 1), 1e300),
                                         documents(numbered('b', 100), least)};
    EXPECT_EQ(mixed(others).taken[0], 4 * others[0].bytes);
    EXPECT_NEAR(static_cast<double>(mixed(others).taken[1]),
                static_cast<double>(others[1].bytes - 3 * others[0].bytes), 65);
  }
}

TEST(Mix, ATextIsCutAtLineEnds) {
  std::string lines, long_lines;
  for (int i = 0; lines.size() < 3'000'000; ++i) lines += fmt::format("a{} €\n", i);
  for (int i = 0; i < 20; ++i)
    for (int character = 0; character < 70'000; ++character)
      long_lines += character < 69'999 ? "é" : "\n";
  const Mixed result = mixed({text(lines, 1), text(long_lines, 1)});
  std::string of_lines, of_long_lines;
  for (size_t i = 0; i < result.pieces.size(); ++i) {
    const std::string& piece = result.pieces[i];
    EXPECT_NO_THROW(check_utf8(piece, "a piece"));
    EXPECT_LE(piece.size(), 64u << 10);
    if (piece[0] == 'a') {
      EXPECT_EQ(piece.back(), '\n');
      EXPECT_LE(piece.size(), lines.size() / 100 + 20);
      of_lines += piece;
    } else if (piece != "\n") {
      of_long_lines += piece;
      EXPECT_TRUE(piece.ends_with('\n') || result.pieces[i + 1] == "\n");
    }
  }
  EXPECT_TRUE(lines.starts_with(of_lines.substr(0, 20'000)));
  EXPECT_TRUE((long_lines + long_lines).starts_with(of_long_lines));
}

TEST(Mix, ALastLineWithoutAnEndGetsOne) {
  EXPECT_EQ(mixed({text("one", 3), text("two\nthree", 9)}).text, "two\none\nthree\n");
}

TEST(Mix, LongDocumentsStayWhole) {
  std::vector<std::string> longs;
  for (const char letter : {'x', 'y', 'z'})
    longs.push_back(std::string(2'500'000, letter) + "\n\n");
  const Mixed result = mixed({documents(longs, 1), documents(numbered('a', 1000), 1e-2)});
  for (const std::string& piece : result.pieces)
    EXPECT_TRUE(piece[0] == 'a' || std::ranges::count(longs, piece) == 1);
  for (const std::string& document : longs)
    EXPECT_GE(std::ranges::count(result.pieces, document), 1);
}

}  // namespace
}  // namespace mmrec
