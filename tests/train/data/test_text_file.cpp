#include "train/data/text_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cerrno>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "support/atomic_file.h"
#include "support/file_descriptor.h"
#include "tests/common/expect_error.h"
#include "tests/common/gzip.h"
#include "tests/common/temporary_directory.h"
#include "train/data/tokenizer.h"

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
    facts_ = read_text(
        path_,
        [&](std::string_view piece) {
          EXPECT_FALSE(piece.empty());
          check_utf8(piece, "a piece");
          text += piece;
        },
        kNobody);
    return text;
  }
  std::vector<std::string> documents_of(const std::string& bytes, const ReadOptions& options = {}) {
    write_file_atomically(path_, bytes);
    std::vector<std::string> documents;
    facts_ = read_json_lines(
        path_, [&](std::string_view text) { documents.emplace_back(text); }, kNobody, options);
    return documents;
  }
  void expect_refused(const std::string& json_lines,
                      std::initializer_list<std::string_view> parts) {
    SCOPED_TRACE(json_lines.substr(0, 200));
    expect_error([&] { documents_of(json_lines); }, {path_.string()});
    expect_error([&] { documents_of(json_lines); }, parts);
  }

  TemporaryDirectory directory_;
  std::filesystem::path path_ = directory_ / "input";
  FileFacts facts_;  // of the last file read
};

TEST_F(TextFile, PiecesEndBetweenCharacters) {
  EXPECT_EQ(text_of(""), "");
  EXPECT_EQ(text_of("é"), "é");
  // every position of a piece's end within a character
  for (size_t shift = 0; shift < 4; ++shift) {
    std::string text(shift, 'x');
    while (text.size() < 2'500'000) text += "a\U0001F600é€";
    EXPECT_TRUE(text_of(text) == text);
    EXPECT_TRUE(text_of(gzip(text)) == text);
  }
}

TEST_F(TextFile, ReadsAllMembersOfACompressedFile) {
  EXPECT_EQ(text_of(gzip("one ") + gzip("") + gzip("two")), "one two");
  EXPECT_EQ(text_of(gzip("one ") + gzip("two") + std::string(1'000'000, '\0')), "one two")
      << "filled up with zeros";
}

TEST_F(TextFile, InvalidUtf8IsLocatedInTheWholeText) {
  for (const size_t place :
       {size_t{0}, size_t{7}, (size_t{1} << 20) - 1, size_t{1} << 20, size_t{3'000'001}}) {
    std::string text(3'000'007, 'x');
    text[place] = '\xff';
    const std::string expected = fmt::format("byte {} (0xff)", place);
    expect_error([&] { text_of(text); }, {path_.string(), expected, "UTF-8"});
    expect_error([&] { text_of(gzip(text)); }, {path_.string(), expected});
  }
  expect_error([&] { text_of("abc\xe2\x82"); },
               {"byte 3 (0xe2)", "the text's end cuts the character off", "get the whole text"});
  expect_error([&] { text_of(std::string((1 << 20) - 2, 'x') + "\xe2\x82x"); },
               {"byte 1048574 (0xe2)"});
}

TEST_F(TextFile, RefusesDamagedCompressedFiles) {
  const std::string good =
      gzip("a text that is compressed, and long enough to be more than a header");
  for (size_t length = 2; length < good.size(); ++length) {
    SCOPED_TRACE(length);
    expect_error<DamagedData>([&] { text_of(good.substr(0, length)); },
                              {path_.string(), "ends too early", "get the file again"});
  }
  std::string wrong_sum = good;
  wrong_sum[good.size() - 8] = static_cast<char>(wrong_sum[good.size() - 8] ^ 1);
  expect_error<DamagedData>([&] { text_of(wrong_sum); }, {path_.string(), "damaged"});
  for (const std::string& behind : {"junk"s, "\x1e"s + good.substr(1),
                                    good.substr(0, 1) + "\x8a" + good.substr(2), "\0\0junk"s})
    expect_error<DamagedData>([&] { text_of(good + behind); }, {path_.string(), "damaged"});
  // A text longer than a piece is passed on before its end is seen; the error still comes.
  const std::string longer = gzip(std::string(3'000'000, 'x'));
  expect_error<DamagedData>([&] { text_of(longer.substr(0, longer.size() - 4)); },
                            {"ends too early"});
}

TEST_F(TextFile, RefusesWhatIsNotARegularFile) {
  expect_error([&] { read_text(directory_ / "missing", [](std::string_view) {}, kNobody); },
               {"missing", "No such file"});
  expect_error([&] { read_text(directory_.path(), [](std::string_view) {}, kNobody); },
               {"not a regular file"});
  ASSERT_EQ(::mkfifo((directory_ / "pipe").c_str(), 0600), 0);
  expect_error([&] { read_text(directory_ / "pipe", [](std::string_view) {}, kNobody); },
               {"pipe", "not a regular file"});
}

TEST_F(TextFile, ObserverGetsRawBytesAndMayStop) {
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
  expect_error([&] { read_text(path_, [](std::string_view) {}, [](int64_t) { fail("stop"); }); },
               {"stop"});
}

TEST_F(TextFile, JsonLinesGiveTheirTexts) {
  using Documents = std::vector<std::string>;
  EXPECT_EQ(documents_of(""), Documents{});
  EXPECT_EQ(documents_of(R"({"text":"one"})"), Documents{"one"});
  EXPECT_EQ(
      documents_of(
          "{\"text\":\"one\"}\n\n \r\n{\"text\":\"\"}\r\n{\"id\":7,\"text\":\"two\\nlines\"}\n"),
      (Documents{"one", "", "two\nlines"}));
  EXPECT_EQ(documents_of(R"({"meta":{"text":1,"list":["text",{"text":null}]},)"
                         R"("text":"\u00e9\ud83d\ude00\u0000é","more":[[]],"n":-1.5e3,"b":true})"),
            Documents{std::string("é\U0001F600\0é", 9)});
  EXPECT_EQ(documents_of(gzip("{\"text\":\"one\"}\n{\"text\":\"two\"}\n")),
            (Documents{"one", "two"}));

  std::string lines;
  Documents expected;
  // lines begin and end anywhere in pieces; some are longer than a piece
  for (int i = 0; i < 400; ++i) {
    expected.push_back(std::string(static_cast<size_t>(i % 50 == 0 ? 1'200'000 : 4001 + i),
                                   static_cast<char>('a' + i % 26)) +
                       "€");
    lines += "{\"text\": \"" + expected.back() + "\"}\n";
  }
  EXPECT_TRUE(documents_of(lines) == expected);
}

TEST_F(TextFile, InvalidJsonLinesAreLocated) {
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
  expect_refused(good + "{\"text\":\"a\xff\"}", {"byte 24 (0xff)", "UTF-8"});
  const std::string quoting = "{\"text\":\"" + std::string(5000, 'x');
  expect_refused(quoting, {"line 1", "not valid JSON"});
  try {
    documents_of(quoting);
  } catch (const Error& error) {
    EXPECT_LT(std::string_view(error.what()).size(), 500u) << "the whole line is quoted";
  }
}

/// The content of other fields does not matter, even if the JSON library cannot represent it.
TEST_F(TextFile, OtherFieldsOfJsonLinesDoNotMatter) {
  using Documents = std::vector<std::string>;
  const std::string digits(400, '9');
  for (const std::string& field :
       {R"("id":1e400)"s, R"("id":-1.5E+4000)"s, "\"id\":" + digits,
        "\"id\":-" + digits + "." + digits + "e-99", R"("id":[1,{"n":[1e400]}])"s,
        R"("title":"\ud800")"s, R"("title":"\udc00\ud83d\ude00")"s, R"("a\ud800":"\\\ud800")"s}) {
    SCOPED_TRACE(field.substr(0, 50));
    EXPECT_EQ(documents_of("{" + field + R"(,"text":"one \ud83d\ude00 \\ud800 1e400"})"),
              Documents{"one \U0001F600 \\ud800 1e400"});
    EXPECT_EQ(documents_of(R"({"text":"two",)" + field + "}\n{\"text\":\"three\"}"),
              (Documents{"two", "three"}));
    EXPECT_EQ(facts_.replaced, 0);
  }
  const std::string good = "{\"text\":\"a\"}\n";  // 13 bytes
  expect_refused(good + R"({"id":1e400,"text":tru})", {"line 2 (byte 13)", "not valid JSON"});
  expect_refused(good + "{\"id\":0" + digits + ",\"text\":\"a\"}", {"line 2", "not valid JSON"});
  expect_refused(good + "{\"id\":" + std::string(400, '0') + ",\"text\":\"a\"}",
                 {"line 2", "not valid JSON"});
  expect_refused(good + R"({"id":1e400})", {"line 2", "there is no field \"text\""});
  expect_refused(good + R"({"id":1e400,"text":1e400})", {"line 2", "is a number, not a string"});
}

TEST_F(TextFile, AnotherFieldMayBeTheText) {
  EXPECT_EQ(
      documents_of(R"({"text":7,"content":"one","meta":{"content":1}})", {.text_field = "content"}),
      std::vector<std::string>{"one"});
  expect_error([&] { documents_of(R"({"text":"a"})", {.text_field = "content"}); },
               {path_.string(), "line 1", "there is no field \"content\""});
  expect_error([&] { documents_of(R"({"content":7})", {.text_field = "content"}); },
               {"the field \"content\" is a number"});
}

TEST_F(TextFile, DamagedLinesMayBeSkipped) {
  using Documents = std::vector<std::string>;
  const ReadOptions skip = {.skip_bad = true};
  EXPECT_EQ(documents_of("{\"text\":\"one\"}\nno\n\n{\"id\":1}\n{\"text\":\"b\xff\"}\n[]\n"
                         "{\"text\":\"two\"}\n{\"text\":7}\n{\"text\":\"cut",
                         skip),
            (Documents{"one", "two"}));
  const std::string file = path_.string();
  EXPECT_EQ(facts_.skipped.text(),
            fmt::format("4 damaged ({0} line 2, {0} line 6, {0} line 8, ..); 1 not UTF-8 ({0} line "
                        "5); 1 without the field \"text\" ({0} line 4)",
                        file));
  const std::string longer = "{\"text\":\"" + std::string((32 << 20) + 3'000'000, 'x') + "\"}\n";
  EXPECT_EQ(documents_of("{\"text\":\"one\"}\n" + longer + "{\"text\":\"two\"}\nno", skip),
            (Documents{"one", "two"}));
  EXPECT_EQ(facts_.skipped.text(),
            fmt::format("1 damaged ({0} line 4); 1 too long ({0} line 2)", file));
  EXPECT_EQ(documents_of("{\"text\":\"one\"}", skip), Documents{"one"});
  EXPECT_TRUE(facts_.skipped.empty());
}

TEST_F(TextFile, OfDamagedCompressedLinesThoseBeforeMayBeRead) {
  std::string lines;
  for (int i = 0; i < 500'000; ++i) lines += fmt::format("{{\"text\":\"{}\"}}\n", i);
  const std::string packed = gzip(lines), cut = packed.substr(0, packed.size() / 2);
  expect_error<DamagedData>([&] { documents_of(cut); }, {path_.string(), "ends too early"});
  const std::vector<std::string> documents = documents_of(cut, {.skip_bad = true});
  ASSERT_GT(documents.size(), 100'000U);
  EXPECT_LT(documents.size(), 400'000U);
  for (size_t i = 0; i < documents.size(); ++i) ASSERT_EQ(documents[i], fmt::format("{}", i));
  EXPECT_EQ(facts_.skipped.text(),
            fmt::format("1 damaged ({} from line {} on)", path_.string(), documents.size() + 1));
  EXPECT_EQ(facts_.bytes, std::ssize(cut));
  EXPECT_EQ(facts_.sha256, checksum_of(path_, kNobody).sha256);
  EXPECT_EQ(facts_.compression, Packing::kGzip);

  EXPECT_EQ(documents_of("{\0\"\0t\0"s, {.skip_bad = true}), std::vector<std::string>{});
  EXPECT_TRUE(facts_.is_left_out);
  EXPECT_EQ(facts_.skipped.text(), fmt::format("1 no text in UTF-8 ({})", path_.string()));
}

TEST_F(TextFile, TextsAreChecked) {
  const std::pair<std::string, bool> cases[] = {{"a text", true},
                                                {"\xef\xbb\xbf", true},
                                                {"a\xff", false},
                                                {"%PDF-1.7", false},
                                                {std::string(2'000'000, 'x') + "\xff", false}};
  for (const auto& [bytes, is_text] : cases) {
    write_file_atomically(path_, bytes);
    const FileFacts facts = check_text(path_, kNobody);
    EXPECT_EQ(facts.skipped.empty(), is_text) << bytes.substr(0, 20);
    EXPECT_EQ(facts.bytes, static_cast<int64_t>(bytes.size()));
    EXPECT_EQ(facts.sha256, sha256_of_file(path_, kNobody));
  }
}

TEST_F(TextFile, HalfAUtf16PairIsReadAsTheReplacementCharacter) {
  EXPECT_EQ(documents_of(R"({"text":"a\ud800b\udfffc\ud83d\ude00"})"
                         "\n"
                         R"({"text":"\ud800\ud800"})"
                         "\n"
                         R"({"text":"good"})"),
            (std::vector<std::string>{"a\uFFFDb\uFFFDc\U0001F600", "\uFFFD\uFFFD", "good"}));
  EXPECT_EQ(facts_.replaced, 2);
}

TEST_F(TextFile, ByteOrderMarkIsSkipped) {
  const std::string mark = "\xef\xbb\xbf";
  EXPECT_EQ(text_of(mark + "text" + mark), "text" + mark);
  EXPECT_EQ(text_of(gzip(mark + "text")), "text");
  EXPECT_EQ(text_of(mark), "");
  expect_error([&] { text_of(mark + "a\xff" + "b"); }, {"byte 4 (0xff)"});
  EXPECT_EQ(documents_of(mark + "{\"text\":\"one\"}\n"), std::vector<std::string>{"one"});
  expect_refused(mark + "{\"text\":\"one\"}\n[]", {"line 2 (byte 18)"});
}

TEST_F(TextFile, NonTextFilesAreNamed) {
  struct NoText {
    std::string bytes;
    std::string_view what, advice;
  };
  std::string tar(1024, '\0');
  tar.replace(0, 5, "a.txt").replace(257, 5, "ustar").replace(512, 4, "text");
  const NoText cases[] = {
      {"PK\3\4\24", "a zip archive", "unpack it"},
      {"PK\5\6"s + std::string(18, '\0'), "an empty zip archive", "with text"},
      {tar, "a tar archive", "unpack it"},
      {"%PDF-1.7\n", "a PDF document", "pdftotext"},
      {"PAR1\x15\4", "a Parquet file", "JSON lines"},
      {"\xff\xfe"
       "a\0b\0"s,
       "in UTF-16", "iconv -f UTF-16"},
      {"\xfe\xff\0a\0b"s, "in UTF-16", "iconv -f UTF-16"},
      {"\xff\xfe\0\0a\0\0\0"s, "in UTF-32", "iconv -f UTF-32"},
      {"a\0b\0\n\0"s, "UTF-16LE", "iconv -f UTF-16LE"},
      {"\0a\0b\0\n"s, "UTF-16BE", "iconv -f UTF-16BE"},
      // Cyrillic: only spaces and line ends have zeros
      {"\x1f\4@\4 \0<\0\n\0"s, "UTF-16LE", "iconv"},
  };
  for (const NoText& bad : cases) {
    SCOPED_TRACE(bad.what);
    expect_error([&] { text_of(bad.bytes); }, {path_.string() + " ", bad.what, bad.advice});
    expect_error([&] { text_of(gzip(bad.bytes)); },
                 {path_.string() + ", decompressed, ", bad.what, bad.advice});
    expect_error([&] { documents_of(bad.bytes); }, {path_.string(), bad.what});
  }
  path_ = directory_ / "page.txt.gz";
  expect_error([&] { text_of("\n<!doctype HTML>\n<p>404"); },
               {path_.string(), "an HTML page", "not packed", "get the file again"});
  EXPECT_EQ(text_of("a text"), "a text") << "the content counts";
}

TEST_F(TextFile, OdditiesAreFound) {
  text_of("A text\nof {\"lines\":1}.\n");
  EXPECT_FALSE(facts_.is_html || facts_.has_json || facts_.was_changed);
  EXPECT_EQ(facts_.compression, Packing::kNone);
  EXPECT_EQ(facts_.zeros, 0);
  text_of("a\0\0b"s + std::string(100, 'x'));
  EXPECT_EQ(facts_.zeros, 2);
  std::string lines;
  for (int i = 0; i < 300; ++i) lines += "hello\0world\n"s;  // all at odd places
  EXPECT_EQ(text_of(lines), lines);
  EXPECT_EQ(facts_.zeros, 300);
  text_of(gzip("<html lang=\"en\">"));
  EXPECT_TRUE(facts_.is_html);
  EXPECT_EQ(facts_.compression, Packing::kGzip);
  for (const char* page :
       {"<head>", "<BODY class=x>", "<html\nlang=en>", "<!-- a --> <!-- b -->\n<html>",
        "<?xml version='1.0'?>\n<!DOCTYPE html>"}) {
    text_of(page);
    EXPECT_TRUE(facts_.is_html) << page;
  }
  for (const char* text : {"<header>", "<heading> of a play", "<!-- a licence -->\n# A title",
                           "<?xml version='1.0'?>\n<TEI>", "<!-- <html>"}) {
    text_of(text);
    EXPECT_FALSE(facts_.is_html) << text;
  }
  text_of("{\"text\":\"one\"}\n\n{\"text\":\"two\"}");
  EXPECT_TRUE(facts_.has_json);
  std::string long_lines;
  for (int i = 0; i < 5; ++i) long_lines += "{\"text\":\"" + std::string(300'000, 'x') + "\"}\n";
  text_of(long_lines);
  EXPECT_TRUE(facts_.has_json);
  text_of("{\"text\":\"one\"}\nand two\n");
  EXPECT_FALSE(facts_.has_json);
  text_of("{\"text\":\n\"one\"}\n");
  EXPECT_FALSE(facts_.has_json);
  text_of("{\"text\":\n" + std::string(2'000'000, ' ') + "\"one\"}\n");
  EXPECT_FALSE(facts_.has_json);
  // three bytes, of which one or two lie after the inspected part
  for (const char* character : {"x", "\u20ac"}) {
    std::string long_text;
    while (long_text.size() < 2'000'000) long_text += character;
    text_of("{\"id\":1e400,\"text\":\"" + long_text + "\"}\n{\"text\":\"two\"}\n");
    EXPECT_TRUE(facts_.has_json) << character;
    text_of("{ \"text\" : \"" + long_text + "\"}\n");
    EXPECT_TRUE(facts_.has_json) << character;
    text_of("{" + long_text + "}\n");
    EXPECT_FALSE(facts_.has_json) << character;
  }
  documents_of(R"({"text":"\u0000"})");
  EXPECT_EQ(facts_.zeros, 1);
  path_ = directory_ / "page.HTML";
  text_of("<html>");
  EXPECT_FALSE(facts_.is_html) << "it is called so";
}

TEST_F(TextFile, FactsDescribeTheBytesRead) {
  std::string text;
  while (text.size() < 3'000'000) text += fmt::format("line {}\n", text.size());
  write_file_atomically(path_, text);
  bool grown = false;
  facts_ = read_text(
      path_, [](std::string_view) {},
      [&](int64_t) {
        if (!std::exchange(grown, true)) std::ofstream(path_, std::ios::app) << "more\n";
      });
  EXPECT_TRUE(facts_.was_changed);
  EXPECT_EQ(facts_.bytes, static_cast<int64_t>(std::filesystem::file_size(path_)));
  EXPECT_EQ(facts_.sha256, sha256_of_file(path_, kNobody));
  text_of(gzip(text));
  EXPECT_FALSE(facts_.was_changed);
  EXPECT_EQ(facts_.bytes, static_cast<int64_t>(std::filesystem::file_size(path_)));
  EXPECT_EQ(facts_.sha256, sha256_of_file(path_, kNobody));
}

TEST_F(TextFile, ALineOfJsonHasALimit) {
  expect_refused(
      "{\"text\":\"a\"}\n{\"text\":\"" + std::string((32 << 20) + 2'000'000, 'x') + "\"}",
      {"line 2 (byte 13)", "longer than 33554432 bytes"});
}

TEST(FileErrors, GiveAdvice) {
  expect_error([] { fail_on_file("read", "text.txt", ENOMEM); },
               {"cannot read text.txt: Cannot allocate memory", "free some memory"});
  expect_error([] { fail_on_file("read", "text.txt", ELOOP); }, {"check the links"});
  expect_error([] { fail_on_file("read", "text.txt", EIO); }, {"check the disk"});
}

}  // namespace
}  // namespace mmrec
