#include "train/prepare.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "tests/expect_error.h"
#include "tests/gzip.h"
#include "tests/temporary_directory.h"
#include "train/atomic_file.h"
#include "train/prepared_data.h"
#include "train/split.h"

namespace mmrec {
namespace {

namespace fs = std::filesystem;
using test::expect_error;
using test::gzip;
using test::TemporaryDirectory;

std::string text_of(const Tokenizer& tokenizer, const Tokens& tokens) {
  std::string text;
  tokens.read(0, static_cast<int>(tokens.count()), [&](int, int32_t id) { text += tokenizer.decode(id); });
  return text;
}

std::set<std::string> entries(const fs::path& directory) {
  std::set<std::string> names;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory)) names.insert(entry.path().filename().string());
  return names;
}

class Prepare : public testing::Test {
 protected:
  fs::path write(const std::string& name, std::string_view bytes) {
    make_directory((directory_ / name).parent_path());
    write_file_atomically(directory_ / name, bytes);
    return directory_ / name;
  }
  PrepareOptions options(std::vector<fs::path> files) const {
    PrepareOptions options;
    options.source = "a test";
    options.format = common_format(files);
    options.files = std::move(files);
    options.out = out_;
    return options;
  }
  nlohmann::ordered_json run(const PrepareOptions& options) {
    Console console(true);
    return prepare(options, console, check_stop_);
  }
  /// The two texts, after all files of the folder have been compared with each other.
  Corpus result() const {
    EXPECT_EQ(entries(out_), (std::set<std::string>{"train.txt", "val.txt", "tokenizer.json", "train.tokens", "val.tokens", "manifest.json"}));
    const PreparedData data = load_prepared(out_, 0);
    const Corpus texts{read_file(out_ / "train.txt"), read_file(out_ / "val.txt")};
    EXPECT_TRUE(text_of(data.tokenizer, data.train) == texts.train);
    EXPECT_TRUE(text_of(data.tokenizer, data.validation) == texts.validation);
    return texts;
  }

  TemporaryDirectory directory_;
  fs::path out_ = directory_ / "data/prepared";
  std::function<void()> check_stop_ = [] {};
};

/// More than two pieces of a file that is read, with characters of every length.
std::string long_text() {
  std::string text;
  for (int i = 0; text.size() < 2'500'000; ++i) text += fmt::format("line {} of a text € \U0001F600 é{}", i, i % 7 == 0 ? "\n\n" : "\n");
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
  for (int i = 0; i < 3000; ++i) lines += fmt::format("{{\"text\":\"<{} {}>\"}}\n", i, std::string(static_cast<size_t>(i * 7919 % 2000), 'x'));
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
  EXPECT_NEAR(static_cast<double>(got.validation.size()), 0.1 * static_cast<double>(got.train.size() + got.validation.size()), 2100);
  const Corpus same = load_corpus((directory_ / "documents.jsonl.gz").string(), 0.1);
  EXPECT_TRUE(got.train == same.train && got.validation == same.validation);
}

TEST_F(Prepare, AFolderIsOneCorpusInTheOrderOfItsPaths) {
  write("in/b.txt", "second\n");
  write("in/a/z.txt.gz", gzip("first"));
  write("in/c.md", "third\n");
  write("in/picture.png", "\xff");
  write("in/.hidden/x.txt", "hidden");
  write("in/.y.txt", "hidden");
  const std::vector<fs::path> files = corpus_files(directory_ / "in", false, directory_ / "out");
  EXPECT_EQ(files, (std::vector{directory_ / "in/a/z.txt.gz", directory_ / "in/b.txt", directory_ / "in/c.md"}));
  EXPECT_EQ(corpus_files(directory_ / "in", true, directory_ / "out").size(), 4u);
  PrepareOptions asked = options(files);
  asked.val_split = 0;
  const nlohmann::ordered_json manifest = run(asked);
  EXPECT_EQ(result().train, "first\nsecond\nthird\n");
  ASSERT_EQ(manifest["inputs"]["files"].size(), 3u);
  EXPECT_EQ(manifest["inputs"]["files"][0]["name"], "a/z.txt.gz");
  fs::create_directory(directory_ / "empty");
  write("pictures/picture.png", "\xff");
  expect_error<UsageError>([&] { corpus_files(directory_ / "empty", false, directory_ / "out"); }, {"no files"});
  expect_error<UsageError>([&] { corpus_files(directory_ / "pictures", false, directory_ / "out"); }, {"no files", "1 of other kinds", "--format"});
}

/// The result may lie among its sources, and is none.
TEST_F(Prepare, DoesNotReadItsOwnResult) {
  write("in/a.txt", "first\n");
  out_ = directory_ / "in/prepared";
  for (int time = 0; time < 2; ++time) {
    const std::vector<fs::path> files = corpus_files(directory_ / "in", false, out_);
    EXPECT_EQ(files, std::vector{directory_ / "in/a.txt"});
    run(options(files));
  }
  const std::string train = read_file(out_ / "train.txt");
  fs::create_directory_symlink(out_, directory_ / "link");
  for (const fs::path& source : {out_ / "train.txt", directory_ / "link/val.txt"})
    expect_error<UsageError>([&] { run(options({source})); }, {source.string(), "in --out", "another --out"});
  EXPECT_EQ(read_file(out_ / "train.txt"), train);
}

TEST_F(Prepare, TheManifestSaysWhatWasMadeOfWhat) {
  const nlohmann::ordered_json manifest = run(options({write("text", "abc\n")}));
  EXPECT_EQ(nlohmann::ordered_json::parse(read_file(out_ / "manifest.json")), manifest);
  EXPECT_EQ(manifest["source"], "a test");
  const nlohmann::ordered_json& file = manifest["inputs"]["files"][0];
  EXPECT_EQ(file["name"], "text");
  EXPECT_EQ(file["bytes"], 4);
  EXPECT_EQ(file["sha256"], "edeaaff3f1774ad2888673770c6d64097e391bc362d7d6fb34982ddf0efd18cb");  // sha256sum's
  EXPECT_EQ(manifest["inputs"]["val_split"], 0.2);
  EXPECT_EQ(manifest["results"], nlohmann::ordered_json({{"vocabulary", 6}, {"characters", 4}, {"train_tokens", 3}, {"val_tokens", 1}}));
  for (const nlohmann::ordered_json& made : manifest["files"]) EXPECT_EQ(made["bytes"], fs::file_size(out_ / made["name"].get<std::string>()));
  EXPECT_EQ(manifest["files"].size(), 5u);
}

TEST_F(Prepare, WhatIsThereIsNotMadeAgain) {
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
  for (const char* name : {"train.txt", "val.tokens", "tokenizer.json"}) {  // a flipped bit, the size as it was
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
  expect_error([&] { run(options({write("x.jsonl", "{\"text\":\"a\"}\nno\n")})); }, {"x.jsonl", "line 2 (byte 14)"});
  expect_error([&] { run(options({write("empty", "")})); }, {"there is no text"});
  expect_as_before();

  // A stop at every point in time leaves no traces.
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

TEST_F(Prepare, AFolderOfOtherThingsIsLeftAlone) {
  const fs::path file = write("text", "abc\n");
  write("data/prepared/notes.txt", "mine");
  expect_error<UsageError>([&] { run(options({file})); }, {out_.string(), "other files ('notes.txt')", "new folder"});
  EXPECT_EQ(entries(out_), std::set<std::string>{"notes.txt"});
  fs::remove_all(out_);
  write_file_atomically(out_, "a file");
  expect_error([&] { run(options({file})); }, {"is not a directory"});
}

#ifndef __SANITIZE_ADDRESS__  // which keeps what was freed
/// The most memory of this process since the last call, in bytes.
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
  const std::string part = long_text(), line = fmt::format("{}\n", nlohmann::json({{"text", part.substr(0, 100'000)}}).dump());
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
