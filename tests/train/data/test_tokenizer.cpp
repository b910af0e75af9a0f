#include "train/data/tokenizer.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "support/atomic_file.h"
#include "tests/common/expect_error.h"
#include "tests/common/temporary_directory.h"
#include "train/data/tokens.h"

namespace mmrec {
namespace {

using test::expect_error;
using test::TemporaryDirectory;

Tokenizer tokenizer_of(std::string_view text, int limit = 0) {
  CharacterCounts counts;
  count_characters(text, "text", counts);
  return Tokenizer(counts, limit);
}

TEST(Tokenizer, OrdersByFrequencyThenCodePoint) {
  const Tokenizer tokenizer =
      tokenizer_of("bbb é é aa zz\n");  // spaces 4, b 3, then a z é 2 each, the line end 1
  ASSERT_EQ(tokenizer.size(), 8);
  EXPECT_EQ(tokenizer.encode(" bazé\n", "text"), (std::vector<int32_t>{2, 3, 4, 5, 6, 7}));
}

TEST(Tokenizer, CountsPiecesLikeTheWhole) {
  CharacterCounts counts;
  for (const char* piece : {"bbb é", "", " é aa", " zz\n"}) count_characters(piece, "text", counts);
  EXPECT_EQ(Tokenizer(counts), tokenizer_of("bbb é é aa zz\n"));
}

TEST(Tokenizer, RoundTripOfEveryLengthOfUtf8) {
  const std::string text("$ £ € \U0001F600 \U0010FFFF \x7f \0 \r\n\t\"\\", 26);
  const Tokenizer tokenizer = tokenizer_of(text);
  const std::vector<int32_t> ids = tokenizer.encode(text, "text");
  EXPECT_EQ(tokenizer.decode(ids), text);
  std::string streamed;
  for (int32_t id : ids) streamed += tokenizer.decode(id);
  EXPECT_EQ(streamed, text);
}

TEST(Tokenizer, UnknownAndPadding) {
  const Tokenizer tokenizer = tokenizer_of("abc");
  EXPECT_EQ(tokenizer.encode("a?\U0010FFFF", "text"),
            (std::vector<int32_t>{2, Tokenizer::kUnknown, Tokenizer::kUnknown}));
  EXPECT_EQ(tokenizer.decode(std::vector<int32_t>{Tokenizer::kPadding, 3, Tokenizer::kUnknown, 4}),
            "b\uFFFDc");
  expect_error([&] { tokenizer.decode(5); }, {"5", "0 .. 4"});
  expect_error([&] { tokenizer.decode(-1); }, {"-1"});
  EXPECT_TRUE(tokenizer.encode("", "text").empty());
}

TEST(Tokenizer, LimitTurnsTheRarestIntoUnknown) {
  const Tokenizer tokenizer = tokenizer_of("aaabbc", 4);
  EXPECT_EQ(tokenizer.size(), 4);
  EXPECT_EQ(tokenizer.encode("abc", "text"), (std::vector<int32_t>{2, 3, Tokenizer::kUnknown}));
  EXPECT_EQ(tokenizer_of("aaabbc", 5000), tokenizer_of("aaabbc"));
  expect_error<UsageError>([] { tokenizer_of("abc", 2); }, {"2", "too small"});
  expect_error<UsageError>([] { tokenizer_of("abc", -1); }, {"-1"});
}

TEST(Tokenizer, InvalidUtf8IsLocated) {
  const Tokenizer tokenizer = tokenizer_of("abc");
  struct Bad {
    std::string text, place;
  };
  const Bad texts[] = {
      {"ab\xff", "byte 2 (0xff)"},  // never part of UTF-8
      {"0123456789abcdef\xff", "byte 16 (0xff)"},
      {"0123456789é0123456789\xe2\x82 €", "byte 22 (0xe2)"},
      {"é\x80", "byte 2 (0x80)"},            // a continuation byte without a beginning
      {"abc\xc3", "byte 3 (0xc3)"},          // cut off
      {"a\xc0\xaf", "byte 1 (0xc0)"},        // overlong encoding
      {"\xed\xa0\x80", "byte 0 (0xed)"},     // half of a UTF-16 pair
      {"\xf4\x90\x80\x80", "byte 0 (0xf4)"}  // beyond U+10FFFF
  };
  for (const Bad& bad : texts) {
    expect_error([&] { tokenizer.encode(bad.text, "input.txt"); },
                 {"input.txt", bad.place, "not valid UTF-8"});
    expect_error([&] { tokenizer_of(bad.text); }, {"text", bad.place});
  }
  expect_error([] { check_utf8("ab\xff", "input.txt", 1'000'000); }, {"byte 1000002"});
  EXPECT_NO_THROW(check_utf8("aé€", "input.txt"));
}

TEST(Tokenizer, FileRoundTrip) {
  const TemporaryDirectory directory;
  const Tokenizer tokenizer =
      tokenizer_of("the \"quick\" \\ brown\tfox\n — \u0001 \uFFFD \U0001F98A");
  tokenizer.save(directory / "tokenizer.json");
  EXPECT_EQ(Tokenizer::load(directory / "tokenizer.json"), tokenizer);
  tokenizer_of("aab").save(directory / "tokenizer.json");
  EXPECT_EQ(read_file(directory / "tokenizer.json"),
            "{\"type\":\"char\",\"tokens\":[\"<UNK>\",\"<PAD>\",\"a\",\"b\"]}\n");
}

TEST(Tokenizer, RefusesInvalidFiles) {
  const TemporaryDirectory directory;
  const auto refused = [&](const std::string& json, std::initializer_list<std::string_view> parts) {
    write_file_atomically(directory / "tokenizer.json", json);
    SCOPED_TRACE(json);
    expect_error([&] { Tokenizer::load(directory / "tokenizer.json"); }, {"tokenizer.json"});
    expect_error([&] { Tokenizer::load(directory / "tokenizer.json"); }, parts);
  };
  refused("", {"not valid JSON"});
  refused("[]", {"\"type\" and \"tokens\""});
  refused(R"({"type":"char"})", {"\"type\" and \"tokens\""});
  refused(R"({"type":"char","tokens":["<UNK>","<PAD>","a"],"more":1})",
          {"\"type\" and \"tokens\""});
  refused(R"({"type":"bpe","tokens":["<UNK>","<PAD>","a"]})", {"\"bpe\" is not supported"});
  refused(R"({"type":"char","tokens":"abc"})", {"does not start with <UNK> and <PAD>"});
  refused(R"({"type":"char","tokens":["<PAD>","<UNK>","a"]})", {"does not start with"});
  refused(R"({"type":"char","tokens":["<UNK>","<PAD>","a",7]})", {"token 3", "not a string"});
  refused(R"({"type":"char","tokens":["<UNK>","<PAD>","ab"]})",
          {"token 2", "not one character but 2"});
  refused(R"({"type":"char","tokens":["<UNK>","<PAD>",""]})",
          {"token 2", "not one character but 0"});
  refused(R"({"type":"char","tokens":["<UNK>","<PAD>","a","b","a"]})", {"tokens 2 and 4"});
  expect_error([&] { Tokenizer::load(directory / "missing.json"); }, {"missing.json"});
}

TEST(Tokenizer, BytesPerToken) {
  CharacterCounts counts;
  count_characters("aä€😀", "a test", counts);
  const Tokenizer tokenizer(counts);
  const auto mean = [&](std::string_view text) {
    return bytes_per_token(tokenizer.encode(text, "a test"), tokenizer);
  };
  EXPECT_EQ(mean("aaaa"), 1);
  EXPECT_EQ(mean("aä€😀"), 2.5);
  EXPECT_EQ(mean(""), 1);
}

TEST(Tokenizer, PaddedVocabulary) {
  EXPECT_EQ(padded_vocabulary(1), 16);
  EXPECT_EQ(padded_vocabulary(16), 16);
  EXPECT_EQ(padded_vocabulary(67), 80);
}

}  // namespace
}  // namespace mmrec
