#include "train/data/corpus.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <set>
#include <span>
#include <vector>

#include "support/atomic_file.h"
#include "tests/common/expect_error.h"
#include "tests/common/gzip.h"
#include "tests/common/temporary_directory.h"

namespace mmrec {
namespace {

using test::expect_error;
using test::gzip;
using test::TemporaryDirectory;

std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  for (size_t end; (end = text.find('\n')) != text.npos; text.remove_prefix(end + 1))
    lines.emplace_back(text.substr(0, end));
  EXPECT_TRUE(text.empty()) << "the last line has no end";
  return lines;
}

TEST(Corpus, SampleIsAThousandLinesFromTenSentences) {
  const Corpus corpus = load_corpus("sample", 0.1);
  const std::vector<std::string> train = lines_of(corpus.train),
                                 validation = lines_of(corpus.validation);
  EXPECT_EQ(train.size(), 1000u);
  EXPECT_EQ(validation.size(), 100u);
  const std::set<std::string> sentences(train.begin(), train.end());
  EXPECT_EQ(sentences.size(), 10u);
  for (const std::string& sentence : sentences)
    EXPECT_GT(std::ranges::count(train, sentence), 50) << sentence;
  EXPECT_FALSE(std::ranges::equal(validation, std::span(train).first(100)))
      << "the validation lines are drawn anew";
}

TEST(Corpus, SampleHasTheDocumentedNumberOfWindows) {
  const Corpus corpus = load_corpus("sample", 0.1);
  EXPECT_GE(corpus.train.size(), 252u * 256u + 1);
  EXPECT_LE(corpus.train.size(), 253u * 256u);
}

TEST(Corpus, SampleIsAlwaysTheSame) {
  const Corpus corpus = load_corpus("sample", 0.1), again = load_corpus("sample", 0.25);
  EXPECT_EQ(corpus.train, again.train);
  EXPECT_EQ(lines_of(again.validation).size(), 250u);
  EXPECT_TRUE(again.validation.starts_with(corpus.validation));
  EXPECT_TRUE(load_corpus("sample", 0).validation.empty());
}

struct Split {
  std::string text;
  double val_split;
  std::string train;
};

TEST(Corpus, FileIsCutAtALineEnd) {
  const TemporaryDirectory directory;
  const Split splits[] = {
      {"aa\nbb\ncc\ndd\n", 0.25, "aa\nbb\ncc\n"},  // exactly at a line end
      {"aa\nbb\ncc\ndd\n", 0.3, "aa\nbb\n"},       // within cc: cut at the line end before
      {"aa\nbb\ncc\ndd\n", 0.9, "a"},              // within aa, with no line end before
      {"aa\nbb\ncc\ndd", 0, "aa\nbb\ncc\ndd"},
      {"abcdefghij", 0.2, "abcdefgh"},  // no line end at all
      {"€€€", 0.5, "€"},                // byte 4 is inside the second character
      {"ééé", 1.0 / 3, "éé"},
      // the only line end is too far away
      {"Title\n" + std::string(994, 'x'), 0.1, "Title\n" + std::string(894, 'x')},
  };
  for (const Split& split : splits) {
    SCOPED_TRACE(split.text);
    write_file_atomically(directory / "text", split.text);
    const Corpus corpus = load_corpus((directory / "text").string(), split.val_split);
    EXPECT_EQ(corpus.train, split.train);
    EXPECT_EQ(corpus.train + corpus.validation, split.text);
  }
}

TEST(Corpus, DirectoryHasItsOwnSplit) {
  const TemporaryDirectory directory;
  write_file_atomically(directory / "train.txt", "training\n");
  expect_error<UsageError>([&] { load_corpus(directory.path().string(), 0.5); },
                           {directory.path().string(), "has no val.txt"});
  write_file_atomically(directory / "val.txt", "validation\n");
  const Corpus corpus = load_corpus(directory.path().string(), 0.5);
  EXPECT_EQ(corpus.train, "training\n");
  EXPECT_EQ(corpus.validation, "validation\n");
  std::filesystem::remove(directory / "train.txt");
  expect_error<UsageError>(
      [&] { load_corpus(directory.path().string(), 0.5); },
      {"has no train.txt", "prepare --input-dir " + directory.path().string()});
}

TEST(Corpus, FilesMayBeCompressedOrJsonLines) {
  const TemporaryDirectory directory;
  write_file_atomically(directory / "text.gz", gzip("aa\nbb\ncc\ndd\n"));
  EXPECT_EQ(load_corpus((directory / "text.gz").string(), 0.25).validation, "dd\n");
  std::string lines;
  for (const char* text : {"one", "two\\n", "", "three"})
    lines += fmt::format("{{\"text\":\"{}\"}}\n", text);
  for (const char* name : {"a.jsonl", "a.json.gz", "a.ndjson.gz"}) {
    write_file_atomically(directory / name,
                          std::string_view(name).ends_with(".gz") ? gzip(lines) : lines);
    const Corpus corpus = load_corpus((directory / name).string(), 0.4);
    EXPECT_EQ(corpus.train, "one\n\nthree\n\n");
    EXPECT_EQ(corpus.validation, "two\n\n");
  }
}

TEST(Corpus, SmallFileIsOneFifthValidationByDefault) {
  const TemporaryDirectory directory;
  write_file_atomically(directory / "text", "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n");
  EXPECT_EQ(load_corpus((directory / "text").string(), std::nullopt).validation, "8\n9\n");
  EXPECT_EQ(lines_of(load_corpus("sample", std::nullopt).validation).size(), 100u)
      << "of the sample a tenth";
}

TEST(Corpus, ManyFilesAreOneText) {
  const TemporaryDirectory directory;
  write_file_atomically(directory / "a", "first");
  write_file_atomically(directory / "b", "");
  write_file_atomically(directory / "c", "second\n");
  write_file_atomically(directory / "d", gzip("third"));
  std::string text;
  int64_t seen = 0;
  read_corpus(
      {.texts = {directory / "a", directory / "b", directory / "c", directory / "d"}},
      Format::kText, 0.5,
      [&](bool validation, std::string_view piece) {
        EXPECT_FALSE(validation);
        text += piece;
      },
      [&](int64_t bytes) { seen = bytes; });
  EXPECT_EQ(text, "first\nsecond\nthird");
  EXPECT_EQ(seen, static_cast<int64_t>(5 + 0 + 7 + gzip("third").size()));
}

TEST(Corpus, FormatsFollowFromNamesAndContents) {
  for (const char* name : {"a.jsonl", "b.json", "c.ndjson", "d.jsonl.gz", "x/e.json.gz", "UP.JSONL",
                           "c.jsonlines", "D.JsonLines.GZ"})
    EXPECT_EQ(format_of(name, "<mediawiki>"), Format::kJsonLines) << name;
  for (const char* name :
       {"a.txt", "json", "jsonl.gz", "a.jsonl.txt", "a.gz", "b.json/c", "UP.TXT", "part-00000"}) {
    EXPECT_EQ(format_of(name, "a text"), Format::kText) << name;
    EXPECT_EQ(format_of(name, "<mediawiki>"), Format::kWikipedia) << name;
  }
  const auto file = [](const char* name, Format format) {
    DataFile result{std::filesystem::path(name)};
    result.format = format;
    return result;
  };
  using enum Format;
  EXPECT_EQ(common_format({file("a.json", kJsonLines), file("b", kJsonLines)}), kJsonLines);
  EXPECT_EQ(common_format({file("a.json", kJsonLines), file("b.jsonl", kJsonLines)}), kJsonLines);
  EXPECT_EQ(common_format({file("a.JSON.gz", kJsonLines), file("b.txt", kText)}), kText);
  EXPECT_EQ(common_format({file("b.c", kText), file("c/a.json", kJsonLines)}), kText);
  expect_error<UsageError>(
      [&] { common_format({file("a.jsonl", kJsonLines), file("b.txt", kText)}); },
      {"a.jsonl and b.txt", "JSON lines and text", "prepare --mix", "prepare --format"});
  expect_error<UsageError>(
      [&] {
        common_format(
            {file("a.json", kJsonLines), file("b.jsonl", kJsonLines), file("c.md", kText)});
      },
      {"a.json and b.jsonl", "text and JSON lines"});
}

TEST(Corpus, DescribesTheFilesAndTheirOddities) {
  const TemporaryDirectory directory;
  const auto notes_of = [&](const std::vector<std::pair<std::string, std::string>>& contents,
                            Format format) {
    Unpacked files;
    for (const auto& [name, bytes] : contents)
      write_file_atomically(files.texts.emplace_back(directory / name).name, bytes);
    const CorpusFacts facts =
        read_corpus(files, format, 0.2, [](bool, std::string_view) {}, [](int64_t) {});
    std::string text;
    for (const Note& note : describe(facts, 77))
      text += (note.style == Style::kWarning ? "WARNING " : "") + note.text + "\n";
    return text;
  };
  const std::string a = (directory / "a").string();
  EXPECT_EQ(notes_of({{"a", "text"}}, Format::kText), "read: " + a + " as text: 77 characters\n");
  EXPECT_EQ(notes_of({{"a", gzip("text")}}, Format::kText),
            "read: " + a + " as text, compressed (gzip): 77 characters\n");
  EXPECT_EQ(notes_of({{"a", "text"}, {"b", gzip("text")}}, Format::kText),
            "read: 2 files as text, 1 of them compressed (gzip): 77 characters\n");
  EXPECT_EQ(
      notes_of({{"a", "{\"text\":\"x\"}\n{\"text\":\"\"}\n{\"text\":\"y\"}\n"}},
               Format::kJsonLines),
      "read: " + a + " as JSON lines: 2 documents and 1 without text, left out, 77 characters\n");
  const std::string json = "{\"text\":\"x\"}\n";
  const std::string of_json =
      notes_of({{"a", json}, {"b", json}, {"c", "text"}, {"d", json}, {"e", json}, {"f", json}},
               Format::kText);
  const std::string names =
      a + ", " + (directory / "b").string() + ", " + (directory / "d").string() + " and 2 more";
  EXPECT_NE(of_json.find("WARNING " + names + ": its lines are JSON objects"), of_json.npos)
      << of_json;
  EXPECT_NE(
      notes_of({{"a", "<!DOCTYPE html>"}}, Format::kText).find("WARNING " + a + ": an HTML page"),
      std::string::npos);
  EXPECT_NE(
      notes_of({{"a", std::string("a text \0 of more than twenty letters", 36)}}, Format::kText)
          .find("WARNING " + a + ": NUL characters (1)"),
      std::string::npos);
  EXPECT_NE(notes_of({{"a", R"({"text":"\ud800"})"}}, Format::kJsonLines)
                .find("WARNING " + a + ": half a UTF-16 pair"),
            std::string::npos);
}

TEST(Corpus, RefusesUnusableTexts) {
  const TemporaryDirectory directory;
  const std::string file = (directory / "text").string();
  expect_error([&] { load_corpus(file, 0.1); }, {file, "No such file"});
  expect_error<UsageError>([&] { load_corpus("-", 0.1); }, {"--data -", "prepare --input-file -"});
  write_file_atomically(file, "");
  expect_error([&] { load_corpus(file, 0.1); }, {file, "empty"});
  write_file_atomically(file,
                        "good\nb\xe9"
                        "d\n");
  expect_error([&] { load_corpus(file, 0.1); }, {file, "byte 6 (0xe9)"});
  for (double split : {-0.1, 1.0, 2.0, std::numeric_limits<double>::quiet_NaN()})
    expect_error<UsageError>([&] { load_corpus("sample", split); },
                             {"validation split", fmt::format("{}", split)});
}

}  // namespace
}  // namespace mmrec
