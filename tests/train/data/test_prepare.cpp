#include "train/data/prepare.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "support/atomic_file.h"
#include "tests/common/expect_error.h"
#include "tests/common/gzip.h"
#include "tests/common/temporary_directory.h"
#include "train/data/prepared_data.h"
#include "train/data/sha256.h"
#include "train/data/source_files.h"
#include "train/data/split.h"

namespace mmrec {
namespace {

namespace fs = std::filesystem;
using test::expect_error;
using test::gzip;
using test::TemporaryDirectory;

std::string text_of(const Tokenizer& tokenizer, const Tokens& tokens) {
  std::string text;
  tokens.read(0, static_cast<int>(tokens.count()),
              [&](int, int32_t id) { text += tokenizer.decode(id); });
  return text;
}

std::set<std::string> entries(const fs::path& directory) {
  std::set<std::string> names;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory))
    names.insert(entry.path().filename().string());
  return names;
}

class Prepare : public testing::Test {
 protected:
  fs::path write(const std::string& name, std::string_view bytes) {
    make_directory((directory_ / name).parent_path());
    write_file_atomically(directory_ / name, bytes);
    return directory_ / name;
  }
  PrepareOptions options(const std::vector<fs::path>& files) const {
    PrepareOptions options;
    options.source = "a test";
    options.tokens = TokenKind::kCharacter;
    options.files.assign(files.begin(), files.end());
    options.out = out_;
    return options;
  }
  nlohmann::ordered_json run(const PrepareOptions& options) {
    Console console(/*quiet=*/false, output_.get());
    return prepare(options, console, check_stop_);
  }
  std::string output() const {
    std::fflush(output_.get());
    return read_file(directory_ / "output");
  }
  /// Returns the two texts, after comparing all files of the folder with each other.
  Corpus result() const {
    EXPECT_EQ(entries(out_),
              (std::set<std::string>{"train.txt", "val.txt", "tokenizer.json", "train.tokens",
                                     "val.tokens", "manifest.json"}));
    const PreparedData data = load_prepared(out_, 0);
    const Corpus texts{read_file(out_ / "train.txt"), read_file(out_ / "val.txt")};
    EXPECT_TRUE(text_of(data.tokenizer, data.train) == texts.train);
    EXPECT_TRUE(text_of(data.tokenizer, data.validation) == texts.validation);
    return texts;
  }

  TemporaryDirectory directory_;
  std::unique_ptr<std::FILE, decltype(&std::fclose)> output_{
      std::fopen((directory_ / "output").c_str(), "w"), std::fclose};
  fs::path out_ = directory_ / "data/prepared";
  std::function<void()> check_stop_ = [] {};
};

/// Longer than two read pieces, with characters of every length.
std::string long_text() {
  std::string text;
  for (int i = 0; text.size() < 2'500'000; ++i)
    text += fmt::format("line {} of a text € \U0001F600 é{}", i, i % 7 == 0 ? "\n\n" : "\n");
  return text;
}

TEST_F(Prepare, TextIsSplitAsTrainSplitsIt) {
  const std::string text = long_text();
  for (const double part : {0., 0.05, 0.2, 0.5}) {
    SCOPED_TRACE(part);
    const fs::path file = write("text", text);
    PrepareOptions asked = options({file});
    asked.val_split = part;
    run(asked);
    const Corpus got = result(), same = load_corpus(file.string(), part);
    EXPECT_TRUE(got.train == same.train);
    EXPECT_TRUE(got.validation == same.validation);
    EXPECT_TRUE(got.train + got.validation == text);
  }
}

TEST_F(Prepare, CompressionChangesNothing) {
  const std::string text = long_text();
  run(options({write("text", text)}));
  const Corpus plain = result();
  run(options({write("text.gz", gzip(text))}));
  EXPECT_TRUE(result().train == plain.train);
}

TEST_F(Prepare, DocumentsStayWhole) {
  std::string lines;
  for (int i = 0; i < 3000; ++i)
    lines += fmt::format("{{\"text\":\"<{} {}>\"}}\n", i,
                         std::string(static_cast<size_t>(i * 7919 % 2000), 'x'));
  PrepareOptions asked = options({write("documents.jsonl.gz", gzip(lines))});
  asked.val_split = 0.1;
  run(asked);
  const Corpus got = result();
  for (std::string_view text : {std::string_view(got.train), std::string_view(got.validation)})
    for (size_t end; !text.empty(); text.remove_prefix(end + 3)) {
      ASSERT_EQ(text.front(), '<');
      end = text.find('>');
      ASSERT_EQ(text.substr(end, 3), ">\n\n");
    }
  EXPECT_NEAR(static_cast<double>(got.validation.size()),
              0.1 * static_cast<double>(got.train.size() + got.validation.size()), 2100);
  const Corpus same = load_corpus((directory_ / "documents.jsonl.gz").string(), 0.1);
  EXPECT_TRUE(got.train == same.train && got.validation == same.validation);
}

TEST_F(Prepare, AFolderIsOneCorpusInTheOrderOfItsPaths) {
  write("in/b.txt", "second\n");
  write("in/a/z.txt.gz", gzip("first"));
  write("in/c.md", "third\n");
  write("in/D.C", "fourth\n");
  write("in/a/e.py.gz", gzip("fifth\n"));
  write("in/picture.png", "\xff");
  write("in/.hidden/x.txt", "hidden");
  write("in/.y.txt", "hidden");
  const std::vector<fs::path> files =
      files_below(directory_ / "in", false, false, directory_ / "out").files;
  EXPECT_EQ(files, (std::vector{directory_ / "in/D.C", directory_ / "in/a/e.py.gz",
                                directory_ / "in/a/z.txt.gz", directory_ / "in/b.txt",
                                directory_ / "in/c.md"}));
  EXPECT_EQ(files_below(directory_ / "in", true, false, directory_ / "out").files.size(), 6u);
  PrepareOptions asked = options(files);
  asked.val_split = 0;
  const nlohmann::ordered_json manifest = run(asked);
  EXPECT_EQ(result().train, "fourth\nfifth\nfirst\nsecond\nthird\n");
  ASSERT_EQ(manifest["inputs"]["files"].size(), 5u);
  EXPECT_EQ(manifest["inputs"]["files"][2]["name"], "a/z.txt.gz");
  fs::create_directory(directory_ / "empty");
  write("pictures/picture.png", "\xff");
  expect_error<UsageError>(
      [&] { files_below(directory_ / "empty", false, false, directory_ / "out"); }, {"no files"});
  expect_error<UsageError>(
      [&] { files_below(directory_ / "pictures", false, false, directory_ / "out"); },
      {"no files", "1 of other kinds", "--format"});
}

TEST_F(Prepare, ReportsFilesThatAreLeftOut) {
  write("in/a.TXT", "first\n");
  write("in/B.Text.GZ", gzip("second\n"));
  write("in/c.pdf", "%PDF-");
  write("in/.hidden/x.txt", "hidden");
  write("in/data.partial-0123456789abcdef/train.txt", "unfinished");
  write("in/data.old-0000000000000007/train.txt", "unfinished");
  write("in/data.partial-notes/d.txt", "third\n");
  write("elsewhere/x.txt", "linked\n");
  fs::create_directory_symlink(directory_ / "elsewhere", directory_ / "in/linked");
  fs::create_symlink(directory_ / "elsewhere/x.txt", directory_ / "in/link.txt");
  fs::create_symlink("loop.txt", directory_ / "in/loop.txt");
  write("in/prepared/train.txt", "mine");
  const SourceFiles found =
      files_below(directory_ / "in", false, false, directory_ / "in/prepared");
  EXPECT_EQ(found.files,
            (std::vector{directory_ / "in/B.Text.GZ", directory_ / "in/a.TXT",
                         directory_ / "in/data.partial-notes/d.txt", directory_ / "in/link.txt"}));
  const std::string left_out = describe(found.left_out);
  const auto expect_said = [&](std::string_view what, std::initializer_list<const char*> names) {
    EXPECT_NE(left_out.find(what), left_out.npos) << left_out;
    for (const char* name : names)
      EXPECT_NE(left_out.find((directory_ / name).string()), left_out.npos)
          << name << " is not in " << left_out;
  };
  expect_said("1 of other kinds", {"in/c.pdf"});
  expect_said("1 hidden", {"in/.hidden"});
  expect_said("2 left by another prepare",
              {"in/data.partial-0123456789abcdef", "in/data.old-0000000000000007"});
  expect_said("1 by a link to a folder", {"in/linked"});
  expect_said("1 by a link to no file", {"in/loop.txt"});
  expect_said("1 of --out", {"in/prepared"});

  PrepareOptions asked = options(found.files);
  asked.left_out = found.left_out;
  const nlohmann::ordered_json manifest = run(asked);
  EXPECT_NE(output().find("read: 4 files as text, 1 of them compressed (gzip): 26 characters\n" +
                          left_out + "\nsplit: 26.9 % of the bytes for validation"),
            std::string::npos)
      << output();
  EXPECT_EQ(manifest["summary"].size(), 3u);
  EXPECT_EQ(manifest["summary"][1], left_out);

  // Files that are left out do not change the result.
  write("in/e.pdf", "%PDF-");
  asked.left_out =
      files_below(directory_ / "in", false, false, directory_ / "in/prepared").left_out;
  const std::string now = describe(asked.left_out);
  const nlohmann::ordered_json again = run(asked);
  EXPECT_NE(now.find("2 of other kinds"), std::string::npos);
  EXPECT_TRUE(output().ends_with("\n" + now + "\n" + out_.string() + " is up to date\n"))
      << output();
  EXPECT_EQ(again["summary"],
            (nlohmann::ordered_json{manifest["summary"][0], manifest["summary"][2], now}));
  write("other/picture.png", "\xff");
  fs::create_symlink("nowhere", directory_ / "other/x.txt");
  expect_error<UsageError>([&] { files_below(directory_ / "other", false, false, out_); },
                           {"no files", "1 of other kinds", "1 by a link to no file"});
}

TEST_F(Prepare, AnArchiveIsASource) {
  const fs::path zip = fs::path(MMREC_SOURCE_DIR) / "tests/train/data/packed/folder.zip";
  PrepareOptions asked = options({zip});
  asked.val_split = 0;
  const nlohmann::ordered_json manifest = run(asked);
  EXPECT_EQ(result().train, "second\nfirst\nthird\n");
  ASSERT_EQ(manifest["inputs"]["files"].size(), 1u);
  EXPECT_EQ(manifest["inputs"]["files"][0]["name"], "folder.zip");
  EXPECT_EQ(manifest["inputs"]["files"][0]["sha256"], sha256_of_file(zip));
  EXPECT_TRUE(
      manifest["summary"][1].get<std::string>().starts_with("left out: 1 by a link in an archive"));
  run(asked);
  EXPECT_TRUE(output().ends_with("is up to date\n")) << output();
}

TEST_F(Prepare, BadTextsMayBeSkipped) {
  write("in/a.txt", "first\n");
  const fs::path bad = write("in/b.txt", "bad \xff\n");
  write("in/c.txt", "third\n");
  PrepareOptions asked = options(files_below(directory_ / "in", false, false, out_).files);
  asked.val_split = 0;
  expect_error([&] { run(asked); }, {bad.string(), "byte 4"});
  asked.read.skip_bad = true;
  const nlohmann::ordered_json manifest = run(asked);
  EXPECT_EQ(result().train, "first\nthird\n");
  EXPECT_EQ(manifest["inputs"]["files"].size(), 3u);
  EXPECT_EQ(manifest["summary"][0], "read: 2 files as text: 12 characters");
  EXPECT_EQ(manifest["summary"][1], "skipped: 1 no text in UTF-8 (" + bad.string() + ")");
  PrepareOptions one = asked;
  one.files.pop_back();
  EXPECT_EQ(run(one)["summary"][0],
            "read: " + (directory_ / "in/a.txt").string() + " as text: 6 characters");
  EXPECT_EQ(run(asked)["summary"], manifest["summary"]);
  asked.files = {DataFile(bad)};
  expect_error([&] { run(asked); }, {"no text in it; skipped: 1 no text in UTF-8", bad.string()});
  asked.read = {.text_field = "content"};
  expect_error<UsageError>([&] { run(asked); }, {"--text-field content", "no JSON lines"});
  PrepareOptions lines = options({write("x.jsonl", "{\"content\":\"one\"}\n{}\n")});
  lines.read = {.text_field = "content", .skip_bad = true};
  const nlohmann::ordered_json of_lines = run(lines);
  EXPECT_EQ(of_lines["summary"][0], "read: " + (directory_ / "x.jsonl").string() +
                                        " as JSON lines: 1 document, 5 characters");
  EXPECT_EQ(of_lines["summary"][1], "skipped: 1 without the field \"content\" (" +
                                        (directory_ / "x.jsonl").string() + " line 2)");
  EXPECT_EQ(result().train, "one\n\n");
  const nlohmann::ordered_json once = run(lines);
  EXPECT_TRUE(output().ends_with("is up to date\n")) << output();
  EXPECT_EQ(once["inputs"]["text_field"], "content");
}

/// A folder that an earlier version made is up to date: its manifest has these inputs.
TEST_F(Prepare, InputsOfPlainTextsAreThoseOfEarlierVersions) {
  const nlohmann::ordered_json manifest =
      run(options({write("x.jsonl.gz", gzip("{\"text\":\"a\"}"))}));
  std::vector<std::string> keys;
  for (const auto& [key, value] : manifest["inputs"].items()) keys.push_back(key);
  EXPECT_EQ(keys, (std::vector<std::string>{"version", "format", "tokenizer", "vocab", "val_split",
                                            "split_rule", "files"}));
  EXPECT_EQ(manifest["inputs"]["format"], "jsonl");
  EXPECT_EQ(manifest["inputs"]["version"], 2);
}

TEST_F(Prepare, EachLinkedFileIsReadOnce) {
  write("in/b/own.txt", "own\n");
  write("outside/x.txt", "outside\n");
  write("outside/deep/y.txt", "deep\n");
  fs::create_symlink("b/own.txt", directory_ / "in/a-link.txt");
  fs::create_symlink(directory_ / "outside/x.txt", directory_ / "in/first.txt");
  fs::create_symlink(directory_ / "outside/x.txt", directory_ / "in/second.txt");
  fs::create_directory_symlink(directory_ / "outside/deep", directory_ / "in/folder");
  fs::create_directory_symlink(directory_ / "outside/deep", directory_ / "in/again");
  fs::create_directory_symlink(directory_ / "in", directory_ / "outside/deep/loop");
  fs::create_directory_symlink("b", directory_ / "in/a-folder");
  const auto files_of = [&](const SourceFiles& found) {
    std::vector<std::string> names;
    for (const fs::path& file : found.files)
      names.push_back(file.lexically_relative(directory_ / "in").string());
    return names;
  };
  using Names = std::vector<std::string>;
  const SourceFiles without = files_below(directory_ / "in", false, false, out_);
  EXPECT_EQ(files_of(without), (Names{"b/own.txt", "first.txt"}));
  EXPECT_NE(without.left_out.text().find("2 by a link to a file that is read already"),
            std::string::npos)
      << without.left_out.text();
  EXPECT_NE(without.left_out.text().find("3 by a link to a folder"), std::string::npos);
  const SourceFiles with = files_below(directory_ / "in", false, true, out_);
  EXPECT_EQ(files_of(with), (Names{"again/y.txt", "b/own.txt", "first.txt"}));
  EXPECT_NE(with.left_out.text().find("3 by a link to a folder that is read already"),
            std::string::npos)
      << with.left_out.text();
}

TEST_F(Prepare, NamesMayBePatterns) {
  const fs::path b = write("in/b.txt", "second\n"), a = write("in/a.txt", "first\n"),
                 odd = write("in/[x].md", "third\n");
  fs::create_directory(directory_ / "in/c.txt");
  const auto named = [&](std::initializer_list<const char*> names) {
    std::vector<std::string> paths;
    for (const char* name : names) paths.push_back((directory_ / "in" / name).string());
    return named_files(paths);
  };
  using Files = std::vector<fs::path>;
  EXPECT_EQ(named({"*.txt"}).files, (Files{a, b}));
  EXPECT_EQ(named({"*.txt"}).left_out.text(),
            "1 of other kinds (" + (directory_ / "in/c.txt").string() + ")");
  EXPECT_EQ(named({"b.txt", "?.txt"}).files, (Files{b, a}));
  EXPECT_NE(named({"b.txt", "b.txt"}).left_out.text().find("1 named twice"), std::string::npos);
  EXPECT_EQ(named({"[x].md"}).files, Files{odd}) << "a name that a file has is no pattern";
  EXPECT_EQ(named({"missing.txt"}).files, Files{directory_ / "in/missing.txt"});
  expect_error<UsageError>([&] { named({"*.pdf"}); }, {"*.pdf", "no file matches"});
}

TEST_F(Prepare, FilesOfAllPlacesHaveNamesInTheManifest) {
  const fs::path file = write("in/a.txt", "first\n");
  PrepareOptions asked = options({file});
  const auto copy = make_temporary_file();
  copy->write(std::as_bytes(std::span(std::string_view("second\n"))));
  asked.files.emplace_back("standard input", copy, 0, 7);
  asked.val_split = 0;
  const nlohmann::ordered_json manifest = run(asked);
  EXPECT_EQ(result().train, "first\nsecond\n");
  EXPECT_EQ(manifest["inputs"]["files"][0]["name"], file.string());
  EXPECT_EQ(manifest["inputs"]["files"][1]["name"], "standard input");
  run(asked);
  EXPECT_TRUE(output().ends_with("is up to date\n")) << output();
}

TEST_F(Prepare, StandardInputIsASource) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const int before = ::dup(STDIN_FILENO);
  ::dup2(ends[0], STDIN_FILENO);
  ASSERT_EQ(::write(ends[1], "first\nsecond\n", 13), 13);
  ::close(ends[1]);
  PrepareOptions asked;
  asked.files = {standard_input([](int64_t) {})};
  ::dup2(before, STDIN_FILENO);
  ::close(before);
  ::close(ends[0]);
  asked.source = "-";
  asked.val_split = 0;
  asked.out = out_;
  run(asked);
  EXPECT_EQ(result().train, "first\nsecond\n");
  EXPECT_NE(output().find("read: standard input as text: 13 characters"), std::string::npos);
}

TEST_F(Prepare, SourcesAreMixed) {
  std::string lines, text;
  for (int i = 0; i < 2000; ++i) lines += fmt::format("{{\"text\":\"document {}\"}}\n", i);
  for (int i = 0; i < 2000; ++i) text += fmt::format("line {}\r\n", i);
  const fs::path documents = write("documents.jsonl.gz", gzip(lines)), book = write("book", text);
  const auto mix = [&](double of_documents, double of_book) {
    PrepareOptions asked = options({documents, book});
    asked.mix = {{"documents", of_documents, 1}, {"book", of_book, 1}};
    asked.val_split = 0.1;
    return asked;
  };
  const nlohmann::ordered_json manifest = run(mix(3, 1));
  const Corpus got = result(), of_documents = load_corpus(documents.string(), 0.1),
               of_book = load_corpus(book.string(), 0.1);
  EXPECT_TRUE(got.validation == of_documents.validation + of_book.validation);
  const auto all = static_cast<double>(of_documents.train.size() + of_book.train.size());
  EXPECT_NEAR(static_cast<double>(got.train.size()), all, 300);
  int64_t bytes = 0;
  const std::set<std::string> held_back = [&] {
    std::set<std::string> documents_of;
    std::istringstream whole(got.validation);
    for (std::string line; std::getline(whole, line);) documents_of.insert(line);
    return documents_of;
  }();
  std::istringstream whole(got.train);
  for (std::string line; std::getline(whole, line);) {
    if (line.starts_with("document")) bytes += std::ssize(line) + 2;
    EXPECT_TRUE(line.empty() || !held_back.contains(line)) << line;
  }
  EXPECT_NEAR(static_cast<double>(bytes), 0.75 * all, 300);

  const auto& inputs = manifest["inputs"];
  EXPECT_EQ(inputs["files"].size(), 2u);
  ASSERT_EQ(inputs["mix"].size(), 2u);
  EXPECT_EQ(inputs["mix"][0]["weight"], 3);
  EXPECT_EQ(inputs["mix"][0]["format"], "jsonl");
  EXPECT_EQ(inputs["mix"][1]["format"], "text");
  EXPECT_EQ(manifest["results"]["documents"], 2000);
  for (const char* said :
       {"documents: read: ", "documents: split: 10.0 % of the bytes for validation",
        "book: read: ", "book: split: 10.",
        "% of the training text, 75.0 % asked for: documents, gone through 1.29 times\n",
        "% of the training text, 25.0 % asked for: book, gone through 0.60 times\n"})
    EXPECT_NE(output().find(said), std::string::npos) << said << " is not in\n" << output();

  EXPECT_EQ(run(mix(3, 1)), manifest);
  EXPECT_TRUE(output().ends_with("is up to date\n")) << output();
  run(mix(1, 1));
  EXPECT_FALSE(output().ends_with("is up to date\n")) << "other weights, another text";
  EXPECT_TRUE(result().train != got.train);
  run(mix(3, 1));
  EXPECT_TRUE(result().train == got.train) << "the same call, the same text";
}

TEST_F(Prepare, SourcesOfAMixAreChecked) {
  const fs::path book = write("book.txt", "one\ntwo\nthree\n"), empty = write("empty.txt", ""),
                 lines = write("x.jsonl", R"({"text":"one document"})");
  const auto mix = [&](std::vector<fs::path> files, size_t of_first = 1) {
    PrepareOptions asked = options(files);
    asked.mix = {{"first", 1, of_first}, {"second", 1, files.size() - of_first}};
    return asked;
  };
  fs::create_symlink(book, directory_ / "link.txt");
  expect_error<UsageError>(
      [&] {
        run(mix({book, directory_ / "link.txt"}));
      },
      {"link.txt is in two sources, first and second"});
  expect_error([&] { run(mix({book, empty})); }, {"second: there is no text in it"});
  expect_error<UsageError>([&] { run(mix({lines, book, empty}, 2)); }, {"different formats"});
  PrepareOptions asked = mix({book, lines});
  asked.read.text_field = "text ";
  expect_error([&] { run(asked); }, {"x.jsonl: line 1", "no field \"text \""});
  EXPECT_FALSE(fs::exists(out_));

  // A single document is for training, and the summary warns of it.
  run(mix({book, lines}));
  EXPECT_EQ(result().validation, "three\n");
  EXPECT_NE(output().find("second: split: 0.0 % of the bytes for validation, 20.0 % asked for: "
                          "there is no validation text"),
            std::string::npos)
      << output();
  expect_error(
      [&] {
        run(mix({write("short.txt", "x"), lines}));
      },
      {"first: it is too short to be divided"});
}

TEST_F(Prepare, OtherXmlIsLeftOut) {
  write("in/a.xml",
        "<mediawiki><page><title>A</title><ns>0</ns><revision><text>1</text></revision></page>"
        "</mediawiki>");
  write("in/b.xml", "<feed/>");
  const SourceFiles found = files_below(directory_ / "in", false, false, out_);
  EXPECT_EQ(found.files, std::vector{directory_ / "in/a.xml"});
  EXPECT_NE(found.left_out.text().find("1 of other kinds"), std::string::npos);
  EXPECT_EQ(run(options(found.files))["inputs"]["format"], "wikipedia");
  EXPECT_EQ(result().train, "A\n\n1\n\n");
}

TEST_F(Prepare, WarnsOfASplitFarFromWhatWasAskedFor) {
  std::string lines;
  for (const size_t bytes : {100, 10'000, 100, 100})
    lines += fmt::format("{{\"text\":\"{}\"}}\n", std::string(bytes, 'x'));
  const nlohmann::ordered_json manifest =
      run(options({write("x.jsonl", lines + "{\"text\":\"\"}\n")}));
  EXPECT_EQ(manifest["results"]["documents"], 4);
  EXPECT_NE(
      output().find("as JSON lines: 4 documents and 1 without text, left out, 10308 characters"),
      std::string::npos)
      << output();
  EXPECT_NE(
      output().find("split: 2.0 % of the bytes for validation, 20.0 % asked for, which is far off"),
      std::string::npos)
      << output();
}

/// The manifest describes the bytes that were read, although the source differs before and after.
TEST_F(Prepare, GrowingSourceIsDescribedAsRead) {
  const fs::path file = write("text", long_text());
  int asked = 0;
  check_stop_ = [&] {
    if (++asked == 2) std::ofstream(file, std::ios::app) << "a last line\n";
  };
  PrepareOptions all = options({file});
  all.val_split = 0;
  const nlohmann::ordered_json manifest = run(all);
  const std::string train = result().train;
  EXPECT_TRUE(train.ends_with("a last line\n"));
  const nlohmann::ordered_json& described = manifest["inputs"]["files"][0];
  EXPECT_EQ(described["bytes"], train.size());
  EXPECT_EQ(described["sha256"], sha256_of_file(out_ / "train.txt"));
  EXPECT_NE(output().find("text: written to while it was read"), std::string::npos) << output();
  check_stop_ = [] {};
  run(all);
  EXPECT_TRUE(output().ends_with("is up to date\n")) << output();
  std::ofstream(file, std::ios::app) << "another\n";
  run(all);
  EXPECT_TRUE(result().train.ends_with("another\n"));
}

/// A document may begin with bytes that a file must not begin with.
TEST_F(Prepare, DocumentsMayBeginWithAnyBytes) {
  PrepareOptions asked = options({write("x.jsonl", R"({"text":"\ufeffPK\u0003\u0004"})")});
  asked.val_split = 0;
  run(asked);
  EXPECT_EQ(result().train, "\uFEFFPK\3\4\n\n");
}

TEST_F(Prepare, InaccessibleFilesAreNamed) {
  const fs::path file = write("in/x.txt", "text\n");
  fs::create_symlink("loop", directory_ / "loop");
  expect_error([&] { run(options({directory_ / "loop"})); },
               {(directory_ / "loop").string(), "symbolic links", "check the links"});
  expect_error([&] { files_below(directory_ / "loop", false, false, out_); },
               {(directory_ / "loop").string(), "check the links"});
  out_ = directory_ / "loop";
  expect_error([&] { run(options({file})); }, {(directory_ / "loop").string(), "check the links"});
  if (::geteuid() == 0) GTEST_SKIP() << "root reads everything";
  fs::create_directory(directory_ / "in/closed");
  fs::permissions(directory_ / "in/closed", fs::perms::none);
  expect_error([&] { files_below(directory_ / "in", false, false, out_); },
               {(directory_ / "in/closed").string(), "Permission denied", "check the permissions"});
  fs::permissions(directory_ / "in/closed", fs::perms::owner_all);
}

/// The result may lie among its sources, but is not read as one.
TEST_F(Prepare, DoesNotReadItsOwnResult) {
  write("in/a.txt", "first\n");
  out_ = directory_ / "in/prepared";
  for (int time = 0; time < 2; ++time) {
    const std::vector<fs::path> files = files_below(directory_ / "in", false, false, out_).files;
    EXPECT_EQ(files, std::vector{directory_ / "in/a.txt"});
    run(options(files));
  }
  const std::string train = read_file(out_ / "train.txt");
  fs::create_directory_symlink(out_, directory_ / "link");
  for (const fs::path& source : {out_ / "train.txt", directory_ / "link/val.txt"})
    expect_error<UsageError>([&] { run(options({source})); },
                             {source.string(), "in --out", "another --out"});
  EXPECT_EQ(read_file(out_ / "train.txt"), train);
}

TEST_F(Prepare, TokensOfBytesAndPieces) {
  std::string text = long_text();
  text.resize(text.rfind('\n', 100'000));
  PrepareOptions asked = options({write("text", text)});
  std::set<int64_t> counts;
  for (const auto& [kind, file] : {std::pair(TokenKind::kByte, "tokenizer.json"),
                                   {TokenKind::kPiece, "tokenizer.model"},
                                   {TokenKind::kCharacter, "tokenizer.json"}}) {
    SCOPED_TRACE(name_of(kind));
    asked.tokens = kind;
    asked.out = out_ = directory_ / "data" / file;
    const nlohmann::ordered_json manifest = run(asked);  // characters replace bytes
    EXPECT_EQ(manifest["inputs"]["tokenizer"], name_of(kind));
    EXPECT_EQ(entries(out_), (std::set<std::string>{"train.txt", "val.txt", file, "train.tokens",
                                                    "val.tokens", "manifest.json"}));
    const PreparedData data = load_prepared(out_, 0);
    EXPECT_EQ(data.tokenizer.kind(), kind);
    EXPECT_TRUE(text_of(data.tokenizer, data.train) + text_of(data.tokenizer, data.validation) ==
                text);
    EXPECT_TRUE(text_of(data.tokenizer, data.train) == read_file(out_ / "train.txt"));
    counts.insert(data.train.count());
    EXPECT_EQ(run(asked), manifest);
    EXPECT_NE(output().find("is up to date"), std::string::npos);
  }
  EXPECT_EQ(counts.size(), 3u);
  asked.tokens = TokenKind::kPiece;
  EXPECT_EQ(run(asked)["inputs"]["tokenizer"], "bpe") << "a folder may become one of others";
  EXPECT_FALSE(fs::exists(out_ / "tokenizer.json"));
  EXPECT_NE(output().find("is made anew"), std::string::npos) << output();
  asked.tokens = TokenKind::kByte;
  for (const int vocabulary : {100, 257, 259, 400}) {
    asked.vocabulary = vocabulary;
    expect_error<UsageError>([&] { run(asked); },
                             {fmt::format("--vocab {}", vocabulary), "there are 258 tokens"});
  }
  asked.vocabulary = 258;
  EXPECT_EQ(run(asked)["results"]["vocabulary"], 258);
}

TEST_F(Prepare, TokensAreChosenByTheSizeOfTheText) {
  std::string text = long_text();
  text.resize(text.rfind('\n', 800'000) + 1);
  PrepareOptions asked = options({write("long", text)});
  asked.tokens.reset();
  const nlohmann::ordered_json manifest = run(asked);
  const auto limit = static_cast<int>(fs::file_size(out_ / "train.txt") / 900);
  EXPECT_EQ(manifest["inputs"]["tokenizer"], "bpe");
  EXPECT_EQ(manifest["inputs"]["vocab"], limit);
  const std::string said = fmt::format("tokenizer: bpe, at most {} tokens", limit);
  EXPECT_NE(output().find("\n" + said), std::string::npos) << output();
  EXPECT_TRUE(manifest["summary"].back().get<std::string>().starts_with(said));
  EXPECT_EQ(load_prepared(out_, 0).tokenizer.kind(), TokenKind::kPiece);
  EXPECT_EQ(run(asked), manifest);
  EXPECT_TRUE(output().ends_with("is up to date\n")) << output();
  PrepareOptions said_so = asked;
  said_so.tokens = TokenKind::kPiece;
  said_so.vocabulary = limit;
  EXPECT_EQ(run(said_so), manifest) << "the same choice";

  // Of characters where there is too little text; so is the folder of an earlier version.
  out_ = directory_ / "data/short";
  PrepareOptions few = options({write("short", text.substr(0, 1000))});
  const nlohmann::ordered_json characters = run(few);
  few.tokens.reset();
  EXPECT_EQ(run(few), characters);
  few.val_split = 0.3;
  EXPECT_TRUE(run(few)["summary"].back().get<std::string>().starts_with("tokenizer: char, by"));

  // A text that has grown gets other tokens.
  few.files = asked.files;
  few.val_split = 0.2;
  run(few);
  EXPECT_EQ(load_prepared(out_, 0).tokenizer.kind(), TokenKind::kPiece);
}

TEST_F(Prepare, ManifestDescribesSourcesAndResults) {
  const nlohmann::ordered_json manifest = run(options({write("text", "abc\n")}));
  EXPECT_EQ(nlohmann::ordered_json::parse(read_file(out_ / "manifest.json")), manifest);
  EXPECT_EQ(manifest["source"], "a test");
  const nlohmann::ordered_json& file = manifest["inputs"]["files"][0];
  EXPECT_EQ(file["name"], "text");
  EXPECT_EQ(file["bytes"], 4);
  // computed with sha256sum
  EXPECT_EQ(file["sha256"], "edeaaff3f1774ad2888673770c6d64097e391bc362d7d6fb34982ddf0efd18cb");
  EXPECT_EQ(manifest["inputs"]["val_split"], 0.2);
  EXPECT_EQ(manifest["results"],
            nlohmann::ordered_json(
                {{"vocabulary", 6}, {"characters", 4}, {"train_tokens", 3}, {"val_tokens", 1}}));
  for (const nlohmann::ordered_json& made : manifest["files"])
    EXPECT_EQ(made["bytes"], fs::file_size(out_ / made["name"].get<std::string>()));
  EXPECT_EQ(manifest["files"].size(), 5u);
}

TEST_F(Prepare, ExistingResultIsNotMadeAgain) {
  const fs::path file = write("text", long_text());
  const auto made_again = [&](const PrepareOptions& asked) {
    const fs::file_time_type before = fs::last_write_time(out_ / "manifest.json");
    run(asked);
    result();
    return fs::last_write_time(out_ / "manifest.json") != before;
  };
  run(options({file}));
  EXPECT_FALSE(made_again(options({file})));
  fs::rename(file, directory_ / "elsewhere");
  fs::create_directory(directory_ / "folder");
  fs::rename(directory_ / "elsewhere", directory_ / "folder/text");
  const fs::path moved = directory_ / "folder/text";
  EXPECT_FALSE(made_again(options({moved}))) << "the same bytes under the same name";

  PrepareOptions other = options({moved});
  other.val_split = 0.3;
  EXPECT_TRUE(made_again(other));
  other.vocabulary = 10;
  const fs::file_time_type before = fs::last_write_time(out_ / "manifest.json");
  run(other);
  EXPECT_NE(fs::last_write_time(out_ / "manifest.json"), before);
  EXPECT_EQ(load_prepared(out_, 10).tokenizer.size(), 10);
  run(other = options({moved}));
  EXPECT_FALSE(made_again(other));
  // a flipped bit; the size is unchanged
  for (const char* name : {"train.txt", "val.tokens", "tokenizer.json"}) {
    std::string bytes = read_file(out_ / name);
    bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
    write_file_atomically(out_ / name, bytes);
    EXPECT_TRUE(made_again(other)) << name;
  }
  fs::remove(out_ / "val.txt");
  EXPECT_TRUE(made_again(other));
  write_file_atomically(out_ / "manifest.json", "{\"inputs\":");
  EXPECT_TRUE(made_again(other));
  write("folder/text", "another text");
  EXPECT_TRUE(made_again(other));
}

TEST_F(Prepare, FailureLeavesTheOldFolderAndNothingElse) {
  const fs::path file = write("text", long_text());
  run(options({file}));
  const std::string before = read_file(out_ / "manifest.json");
  const auto expect_as_before = [&] {
    EXPECT_EQ(read_file(out_ / "manifest.json"), before);
    EXPECT_EQ(entries(out_.parent_path()), std::set<std::string>{"prepared"});
    result();
  };
  expect_error([&] { run(options({file, directory_ / "missing"})); }, {"missing", "No such file"});
  expect_error([&] { run(options({file, write("bad", "abc\xff")})); }, {"bad: byte 3 (0xff)"});
  expect_error([&] { run(options({write("x.jsonl", "{\"text\":\"a\"}\nno\n")})); },
               {"x.jsonl", "line 2 (byte 14)"});
  expect_error([&] { run(options({write("empty", "")})); }, {"there is no text"});
  expect_as_before();

  // A stop at any moment leaves no traces.
  PrepareOptions other = options({file});
  other.val_split = 0.3;
  int stops = 0;
  for (;; ++stops) {
    int asked = 0;
    check_stop_ = [&] {
      if (asked++ == stops) fail("stopped");
    };
    try {
      run(other);
      break;
    } catch (const Error& error) {
      EXPECT_STREQ(error.what(), "stopped");
      expect_as_before();
    }
  }
  EXPECT_GT(stops, 10);
  EXPECT_NE(read_file(out_ / "manifest.json"), before) << "the run that was not stopped";
}

TEST_F(Prepare, FolderWithForeignFilesIsLeftAlone) {
  const fs::path file = write("text", "abc\n");
  write("data/prepared/notes.txt", "mine");
  expect_error<UsageError>([&] { run(options({file})); },
                           {out_.string(), "other files ('notes.txt')", "new folder"});
  EXPECT_EQ(entries(out_), std::set<std::string>{"notes.txt"});
  fs::remove_all(out_);
  write("data/prepared/tokenizer.model", "mine, too");
  for (const std::optional<TokenKind> tokens : {std::optional(TokenKind::kCharacter), {}}) {
    PrepareOptions asked = options({file});
    asked.tokens = tokens;
    expect_error<UsageError>([&] { run(asked); }, {out_.string(), "('tokenizer.model')"});
  }
  EXPECT_EQ(entries(out_), std::set<std::string>{"tokenizer.model"});
  fs::remove_all(out_);
  write_file_atomically(out_, "a file");
  expect_error([&] { run(options({file})); }, {"is not a directory"});
}

#ifndef __SANITIZE_ADDRESS__  // which keeps what was freed
/// Returns this process's peak memory since the last call, in bytes.
int64_t peak_memory() {
  std::ifstream status("/proc/self/status");
  std::string line;
  while (std::getline(status, line) && !line.starts_with("VmHWM:")) {
  }
  const int64_t peak = 1024 * std::stoll(line.substr(6));
  std::ofstream("/proc/self/clear_refs") << "5";
  return peak;
}

TEST_F(Prepare, MemoryDoesNotDependOnTheCorpus) {
  const std::string part = long_text(),
                    line = fmt::format("{}\n",
                                       nlohmann::json({{"text", part.substr(0, 100'000)}}).dump());
  std::ofstream text(directory_ / "text"), lines(directory_ / "lines.jsonl");
  for (int i = 0; i < 24; ++i) text << part;
  for (int i = 0; i < 600; ++i) lines << line;
  text.close();
  lines.close();
  for (const char* name : {"text", "lines.jsonl"}) {
    SCOPED_TRACE(name);
    peak_memory();
    const int64_t before = peak_memory();
    run(options({directory_ / name}));
    EXPECT_LT(peak_memory() - before, 25'000'000) << "for 60 MB";
  }
}
#endif

TEST_F(Prepare, AShortTextHasNoValidation) {
  run(options({write("x.jsonl", "{\"text\":\"only one\"}")}));
  EXPECT_EQ(result().validation, "");
}

}  // namespace
}  // namespace mmrec
