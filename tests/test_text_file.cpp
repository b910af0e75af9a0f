#include "train/text_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <string>
#include <vector>

#include "tests/expect_error.h"
#include "tests/gzip.h"
#include "tests/temporary_directory.h"
#include "train/atomic_file.h"
#include "train/tokenizer.h"

namespace mmrec {
namespace {

using test::expect_error;
using test::gzip;
using namespace std::string_literals;
using test::TemporaryDirectory;

const ReadObserver kNobody = [](int64_t) {};

class TextFile : public testing::Test {
 protected:
  std::string text_of(const std::string& bytes) {
    write_file_atomically(path_, bytes);
    std::string text;
    read_text(
        path_,
        [&](std::string_view piece) {
          EXPECT_FALSE(piece.empty());
          check_utf8(piece, "a piece");
          text += piece;
        },
        kNobody);
    return text;
  }
  std::vector<std::string> documents_of(const std::string& bytes) {
    write_file_atomically(path_, bytes);
    std::vector<std::string> documents;
    read_json_lines(
        path_, [&](std::string_view text) { documents.emplace_back(text); }, kNobody);
    return documents;
  }
  void expect_refused(const std::string& json_lines, std::initializer_list<std::string_view> parts) {
    SCOPED_TRACE(json_lines.substr(0, 200));
    expect_error([&] { documents_of(json_lines); }, {path_.string()});
    expect_error([&] { documents_of(json_lines); }, parts);
  }

  TemporaryDirectory directory_;
  std::filesystem::path path_ = directory_ / "input";
};

TEST_F(TextFile, PiecesEndBetweenCharacters) {
  EXPECT_EQ(text_of(""), "");
  EXPECT_EQ(text_of("é"), "é");
  for (size_t shift = 0; shift < 4; ++shift) {  // every place of a piece's end within a character
    std::string text(shift, 'x');
    while (text.size() < 2'500'000) text += "a\U0001F600é€";
    EXPECT_TRUE(text_of(text) == text);
    EXPECT_TRUE(text_of(gzip(text)) == text);
  }
}

TEST_F(TextFile, ReadsAllMembersOfACompressedFile) {
  EXPECT_EQ(text_of(gzip("one ") + gzip("") + gzip("two")), "one two");
  EXPECT_EQ(text_of(gzip("one ") + gzip("two") + std::string(1'000'000, '\0')), "one two") << "filled up with zeros";
}

TEST_F(TextFile, InvalidUtf8HasItsPlaceInTheWholeText) {
  for (const size_t place : {size_t{0}, size_t{7}, (size_t{1} << 20) - 1, size_t{1} << 20, size_t{3'000'001}}) {
    std::string text(3'000'007, 'x');
    text[place] = '\xff';
    const std::string expected = fmt::format("byte {} (0xff)", place);
    expect_error([&] { text_of(text); }, {path_.string(), expected, "UTF-8"});
    expect_error([&] { text_of(gzip(text)); }, {path_.string(), expected});
  }
  expect_error([&] { text_of("abc\xe2\x82"); }, {"byte 3 (0xe2)"});
  expect_error([&] { text_of(std::string((1 << 20) - 2, 'x') + "\xe2\x82x"); }, {"byte 1048574 (0xe2)"});
}

TEST_F(TextFile, RefusesDamagedCompressedFiles) {
  const std::string good = gzip("a text that is compressed, and long enough to be more than a header");
  for (size_t length = 2; length < good.size(); ++length) {
    SCOPED_TRACE(length);
    expect_error([&] { text_of(good.substr(0, length)); }, {path_.string(), "ends too early", "get it again"});
  }
  std::string wrong_sum = good;
  wrong_sum[good.size() - 8] = static_cast<char>(wrong_sum[good.size() - 8] ^ 1);
  expect_error([&] { text_of(wrong_sum); }, {path_.string(), "damaged"});
  for (const std::string& behind : {"junk"s, "\x1e"s + good.substr(1), good.substr(0, 1) + "\x8a" + good.substr(2), "\0\0junk"s})
    expect_error([&] { text_of(good + behind); }, {path_.string(), "damaged"});
  // A text that is longer than a piece is handed out before its end shows; the error comes all the same.
  const std::string longer = gzip(std::string(3'000'000, 'x'));
  expect_error([&] { text_of(longer.substr(0, longer.size() - 4)); }, {"ends too early"});
}

TEST_F(TextFile, RefusesWhatIsNoFile) {
  expect_error(
      [&] {
        read_text(
            directory_ / "missing", [](std::string_view) {}, kNobody);
      },
      {"missing", "No such file"});
  expect_error(
      [&] {
        read_text(
            directory_.path(), [](std::string_view) {}, kNobody);
      },
      {"not a regular file"});
  ASSERT_EQ(::mkfifo((directory_ / "pipe").c_str(), 0600), 0);
  expect_error(
      [&] {
        read_text(
            directory_ / "pipe", [](std::string_view) {}, kNobody);
      },
      {"pipe", "not a regular file"});
}

TEST_F(TextFile, TheObserverSeesTheFilesOwnBytesAndMayEndIt) {
  const std::string bytes = gzip(std::string(5'000'000, 'x'));
  write_file_atomically(path_, bytes);
  int64_t seen = -1;
  read_text(
      path_, [](std::string_view) {},
      [&](int64_t read) {
        EXPECT_GE(read, seen);
        seen = read;
      });
  EXPECT_EQ(seen, static_cast<int64_t>(bytes.size()));
  expect_error(
      [&] {
        read_text(
            path_, [](std::string_view) {}, [](int64_t) { fail("stop"); });
      },
      {"stop"});
}

TEST_F(TextFile, JsonLinesGiveTheirTexts) {
  using Documents = std::vector<std::string>;
  EXPECT_EQ(documents_of(""), Documents{});
  EXPECT_EQ(documents_of(R"({"text":"one"})"), Documents{"one"});
  EXPECT_EQ(documents_of("{\"text\":\"one\"}\n\n \r\n{\"text\":\"\"}\r\n{\"id\":7,\"text\":\"two\\nlines\"}\n"),
            (Documents{"one", "", "two\nlines"}));
  EXPECT_EQ(documents_of(R"({"meta":{"text":1,"list":["text",{"text":null}]},"text":"\u00e9\ud83d\ude00\u0000é","more":[[]],"n":-1.5e3,"b":true})"),
            Documents{std::string("é\U0001F600\0é", 9)});
  EXPECT_EQ(documents_of(gzip("{\"text\":\"one\"}\n{\"text\":\"two\"}\n")), (Documents{"one", "two"}));

  std::string lines;
  Documents expected;
  for (int i = 0; i < 400; ++i) {  // lines begin and end anywhere in pieces, and some are longer
    expected.push_back(std::string(static_cast<size_t>(i % 50 == 0 ? 1'200'000 : 4001 + i), static_cast<char>('a' + i % 26)) + "€");
    lines += "{\"text\": \"" + expected.back() + "\"}\n";
  }
  EXPECT_TRUE(documents_of(lines) == expected);
}

TEST_F(TextFile, JsonLinesThatAreNoneHaveAPlace) {
  const std::string good = "{\"text\":\"é\"}\n";  // 14 bytes
  expect_refused(good + "{\"text\": tru}\n", {"line 2 (byte 26)", "not valid JSON"});
  expect_refused(good + "\n" + "{\"text\":\"one\"\n", {"line 3", "not valid JSON"});
  expect_refused(good + "{\"id\":1}\n", {"line 2 (byte 14)", "there is no field \"text\""});
  expect_refused(good + "{\"a\":{\"text\":\"x\"}}\n", {"line 2", "there is no field \"text\""});
  expect_refused(good + "{\"text\":7}", {"line 2 (byte 14)", "is a number, not a string"});
  expect_refused(good + "{\"text\":null}", {"is null, not a string"});
  expect_refused(good + "{\"text\":[\"x\"]}", {"is an array, not a string"});
  expect_refused(good + "{\"text\":{\"text\":\"x\"}}", {"is an object, not a string"});
  expect_refused(good + "{\"text\":\"a\",\"text\":\"b\"}", {"line 2", "occurs twice"});
  expect_refused("[\n{\"text\":\"a\"}\n]\n", {"line 1 (byte 0)", "an array instead of an object"});
  expect_refused("[{\"text\":\"a\"}]\n", {"line 1", "an array instead of an object", "JSON lines"});
  expect_refused("\"text\"\n", {"a string instead of an object"});
  expect_refused("A plain text.\n", {"line 1 (byte 0)", "not valid JSON"});
  expect_refused(good + R"({"text":"\ud800"})", {"line 2", "not valid JSON"});  // half of a UTF-16 pair
  expect_refused(good + "{\"text\":\"a\xff\"}", {"byte 24 (0xff)", "UTF-8"});
  const std::string quoting = "{\"text\":\"" + std::string(5000, 'x');
  expect_refused(quoting, {"line 1", "not valid JSON"});
  try {
    documents_of(quoting);
  } catch (const Error& error) {
    EXPECT_LT(std::string_view(error.what()).size(), 500u) << "the whole line is quoted";
  }
}

TEST_F(TextFile, ALineOfJsonHasALimit) {
  expect_refused("{\"text\":\"a\"}\n{\"text\":\"" + std::string((32 << 20) + 2'000'000, 'x') + "\"}",
                 {"line 2 (byte 13)", "longer than 33554432 bytes"});
}

}  // namespace
}  // namespace mmrec
