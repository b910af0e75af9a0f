#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "support/atomic_file.h"
#include "tests/common/http_server.h"
#include "tests/common/process.h"
#include "tests/train/programs/program_test.h"

namespace mmrec {
namespace {

namespace fs = std::filesystem;
using test::Arguments;
using test::expect_failed;
using test::Outcome;
using test::Programs;

/// So it is where nobody says what the tokens are, with a text that is read in pieces.
TEST_F(Programs, PreparedTextsHaveTheTokensOfTheRecipe) {
  const std::string text =
                        (fs::path(MMREC_SOURCE_DIR) / "data/tiny_shakespeare/input.txt").string(),
                    folder = (directory_ / "data").string();
  const Outcome prepared = run("prepare", {"--input-file", text, "--out", folder});
  ASSERT_EQ(prepared.code, 0) << prepared.errors;
  EXPECT_NE(prepared.output.find("tokenizer: bpe, at most 991 tokens"), std::string::npos)
      << prepared.output;
  for (const auto& [data, name] : {std::pair(text, "text"), {folder, "folder"}}) {
    const Outcome trained =
        run("train", {"--data", data, "--out", (directory_ / name).string(), "--set", "dim=32",
                      "--set", "layers=1", "--steps", "1", "--sample-tokens", "0"});
    ASSERT_EQ(trained.code, 0) << trained.errors;
  }
  for (const char* file : {"model.safetensors", "tokenizer.model"})
    EXPECT_TRUE(read_file(directory_ / "text/final_checkpoint" / file) ==
                read_file(directory_ / "folder/final_checkpoint" / file))
        << file;
}

TEST_F(Programs, PrepareDownloads) {
  const test::HttpServer server([](const std::string& request) {
    return request.starts_with("GET /texts/play.txt ")
               ? test::serve_file(request, play())
               : "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n";
  });
  const std::string url = server.url("/texts/play.txt"), folder = (directory_ / "data").string();
  const auto prepare = [&](Arguments more) {
    more.insert(more.end(), {"--out", folder});
    return run("prepare", more);
  };
  expect_failed(prepare({"--url", server.url("/missing.txt")}), 1,
                {"/missing.txt", "no such file", "404"});
  expect_failed(prepare({"--url", url, "--sha256", std::string(64, '0')}), 1,
                {"play.txt", "SHA-256", std::string(64, '0')});
  EXPECT_FALSE(fs::exists(folder));
  const Outcome outcome = prepare({"--url", url});
  EXPECT_EQ(outcome.code, 0) << outcome.errors;
  EXPECT_EQ(read_file(fs::path(folder) / "train.txt") + read_file(fs::path(folder) / "val.txt"),
            play());
  EXPECT_EQ(prepare({"--url", url}).code, 0);
  EXPECT_EQ(server.requests().size(), 2u) << "the second of the good ones asked for it again";
}

/// User name and password of a URL appear in nothing that is written. Two URLs with the same last
/// name are two texts.
TEST_F(Programs, PrepareIdentifiesDownloadsByUrl) {
  const test::HttpServer server([](const std::string& request) {
    return test::serve_file(
        request, request.starts_with("GET /one/") ? play() : std::string(5000, 'x') + "\n");
  });
  const std::string folder = (directory_ / "data").string();
  const auto prepare = [&](const std::string& url) {
    const Outcome outcome = run("prepare", {"--url", url, "--out", folder, "--val-split", "0"});
    EXPECT_EQ(outcome.code, 0) << outcome.errors;
    EXPECT_EQ((outcome.output + outcome.errors).find("secret"), std::string::npos)
        << outcome.output << outcome.errors;
    return read_file(fs::path(folder) / "train.txt");
  };
  EXPECT_EQ(prepare("http://joe:secret@" + server.url("/one/play.txt").substr(7)), play());
  EXPECT_EQ(prepare(server.url("/two/play.txt")), std::string(5000, 'x') + "\n");
  EXPECT_EQ(prepare("http://joe:secret@" + server.url("/one/play.txt").substr(7)), play());
  EXPECT_EQ(nlohmann::json::parse(read_file(fs::path(folder) / "manifest.json"))["source"],
            server.url("/one/play.txt"));
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(directory_.path()))
    if (entry.is_regular_file()) {
      EXPECT_EQ(read_file(entry.path()).find("secret"), std::string::npos) << entry.path();
    }
}

/// The data are found beside the build that the program belongs to.
TEST_F(Programs, PrepareFindsTheDataOfAMovedBuild) {
  const fs::path moved = directory_ / "moved/build/bin",
                 data = directory_ / "moved/data/tiny_shakespeare";
  fs::create_directories(moved);
  fs::create_directories(data);
  fs::copy_file(fs::path(MMREC_BINARY_DIR) / "prepare", moved / "prepare");
  std::ofstream(data / "input.txt") << "the moved text\n";
  test::Process process({(moved / "prepare").string(), "--dataset", "tiny_shakespeare",
                         "--val-split", "0", "--out", out().string()},
                        {}, directory_.path());
  EXPECT_EQ(process.wait(), 0) << read_file(directory_ / "stderr");
  EXPECT_EQ(read_file(out() / "train.txt"), "the moved text\n");
}

TEST_F(Programs, PrepareHasTheDataSetsOfTheProject) {
  const Outcome outcome =
      run("prepare", {"--dataset", "tiny_shakespeare", "--out", out().string(), "--json"});
  ASSERT_EQ(outcome.code, 0) << outcome.errors;
  EXPECT_EQ(outcome.output, read_file(out() / "manifest.json"));
  EXPECT_EQ(read_file(out() / "train.txt") + read_file(out() / "val.txt"),
            read_file(fs::path(MMREC_SOURCE_DIR) / "data/tiny_shakespeare/input.txt"));
}

TEST_F(Programs, PrepareRefusesWrongUse) {
  const std::string text = (directory_ / "play.txt").string();
  const auto expect_refused = [&](Arguments arguments, int code,
                                  std::initializer_list<std::string_view> mentions) {
    SCOPED_TRACE(fmt::format("{}", fmt::join(arguments, " ")));
    arguments.insert(arguments.end(), {"--out", out().string()});
    expect_failed(run("prepare", arguments), code, mentions);
    EXPECT_FALSE(fs::exists(out()));
  };
  expect_refused({}, 2, {"--dataset, --input-file, --input-dir, --mix and --url"});
  expect_refused({"--input-file", text, "--input-dir", directory_.path().string()}, 2,
                 {"with one of"});
  expect_refused({"--input-fiel", text}, 2,
                 {"unknown option --input-fiel", "did you mean --input-file?"});
  expect_failed(run("prepare", {"--input", "book.txt", "--out", "books"}), 2,
                {"unknown option --input;", "did you mean --input-file or --input-dir?"});
  expect_failed(run("prepare", {"book.txt", "--out", "books"}), 2,
                {"unexpected argument book.txt", "did you mean --input-file book.txt?"});
  expect_failed(run("train", {"book.txt"}), 2, {"did you mean --data book.txt?"});
  expect_failed(run("evaluate", {"checkpoints/book"}), 2,
                {"did you mean --checkpoint checkpoints/book?"});
  const Outcome twice = run("train", {"--data", "book.txt", "letters.txt"});
  EXPECT_EQ(twice.code, 2);
  EXPECT_EQ(twice.errors.find("did you mean"), std::string::npos) << twice.errors;
  expect_refused({"--dataset", "enwik8"}, 2, {"--dataset enwik8", "tiny_shakespeare"});
  expect_refused({"--input-file", text, "--val-split", "1"}, 2, {"--val-split 1"});
  expect_refused({"--input-file", text, "--vocab", "2"}, 2, {"--vocab 2"});
  expect_refused({"--input-file", text, "--tokenizer", "bytes", "--vocab", "400"}, 2,
                 {"--vocab 400", "leave the option out"});
  expect_refused({"--input-file", text, "--tokenizer", "words"}, 2, {"words", "auto, char"});
  expect_refused({"--input-file", text, "--format", "csv"}, 2, {"--format", "csv"});
  expect_refused({"--input-file", text, "--sha256", std::string(64, 'a')}, 2,
                 {"--sha256", "--url"});
  expect_refused({"--url", "http://127.0.0.1/x", "--sha256", "abc"}, 2,
                 {"--sha256 abc", "64 hexadecimal digits"});
  expect_refused({"--input-file", directory_.path().string()}, 1, {"not a regular file"});
  expect_refused({"--input-dir", text}, 2, {"--input-dir", "no such folder"});
  std::ofstream(directory_ / "one.txt") << "a";
  expect_refused({"--input-file", (directory_ / "one.txt").string()}, 1,
                 {"one.txt", "too short to be divided", "--val-split 0"});
  expect_refused({"--input-file", text, "--format", "jsonl"}, 1,
                 {"play.txt: line 1 (byte 0)", "not valid JSON"});
}

TEST_F(Programs, PrepareMixes) {
  fs::create_directory(directory_ / "more=less");
  std::ofstream(directory_ / "more=less/a.txt") << play() << "the end";
  std::ofstream(directory_ / "x.jsonl") << "{\"text\":\"one\"}\n{\"text\":\"two\"}\n";
  const auto here = [&](const std::string& arguments) {
    return run_line("cd " + directory_.path().string() + " && " + MMREC_BINARY_DIR "/prepare " +
                    arguments + " --out run");
  };
  const Outcome mixed = here("--mix play.txt=2 --mix more=less/ --mix -=0.5 < play.txt");
  ASSERT_EQ(mixed.code, 0) << mixed.errors;
  for (const char* said : {"play.txt: read: play.txt as text", "more=less/: split: ",
                           "asked for: play.txt, gone", "-: read: standard input as text"})
    EXPECT_NE(mixed.output.find(said), std::string::npos) << mixed.output;
  const Outcome again = here("--mix play.txt=2 more=less/=1.0 --mix -=0.5 < play.txt");
  EXPECT_NE(again.output.find("run is up to date"), std::string::npos) << again.output;
  EXPECT_EQ(
      train(
          small_run().set("--data", out().string()).set("--out", (directory_ / "trained").string()))
          .code,
      0);
  // the example of the documentation, with JSON lines in place of the dump
  fs::create_directories(directory_ / "code/lib");
  std::ofstream(directory_ / "code/main.c") << "int main(void) { return twice(0); }\n";
  std::ofstream(directory_ / "code/lib/twice.h") << "int twice(int x);\n";
  std::ofstream(directory_ / "code/lib/twice.c") << "int twice(int x) { return 2 * x; }\n";
  std::ofstream(directory_ / "code/lib/twice.o") << "\xff\xfe";
  const Outcome code = here("--mix x.jsonl=2 --mix code/=1");
  ASSERT_EQ(code.code, 0) << code.errors;
  for (const char* said : {"x.jsonl: read: x.jsonl as JSON lines: 2 documents",
                           "code/: read: 3 files as text: ", "1 of other kinds (code/lib/twice.o)",
                           "33.3 % asked for: code/, gone"})
    EXPECT_NE(code.output.find(said), std::string::npos) << said << "\n" << code.output;
  const std::string manifest = read_file(out() / "manifest.json");

  const auto expect_refused = [&](const std::string& arguments, int code,
                                  std::initializer_list<std::string_view> mentions) {
    SCOPED_TRACE(arguments);
    expect_failed(here(arguments), code, mentions);
    EXPECT_EQ(read_file(out() / "manifest.json"), manifest);
  };
  expect_refused("--mix play.txt=1 --input-file x.jsonl", 2, {"with one of", "--mix"});
  for (const char* weight : {"0", "-1", "nan"})
    expect_refused(std::string("--mix x.jsonl --mix play.txt=") + weight, 2,
                   {"--mix play.txt=" + std::string(weight), "a positive number"});
  expect_refused("--mix play.txt=2,x.jsonl=1", 2, {"no file or folder play.txt=2,x.jsonl"});
  expect_refused("--mix play.txt:2", 2, {"no file or folder play.txt:2", "PATH=WEIGHT"});
  expect_refused("--mix 'p*.jsonl=2'", 2, {"--mix p*.jsonl: no file matches it"});
  expect_refused("--mix play.txt --mix ./more=less/../play.txt=2", 2, {"is in two sources"});
  expect_refused("--mix play.txt --mix run=2", 2, {"run/manifest.json: it is in --out run"});
  expect_refused("--mix - --mix -=2 < play.txt", 2, {"standard input is in two sources"});
}

TEST_F(Programs, StoppedPrepareLeavesNoTraces) {
  {
    std::ofstream large(directory_ / "large.txt");
    for (int i = 0; i < 200; ++i) large << std::string(999'999, 'x') << '\n';
  }
  std::ofstream(directory_ / "stdin");
  fs::create_directory(directory_ / "data");
  const std::vector<std::string> words = {(fs::path(MMREC_BINARY_DIR) / "prepare").string(),
                                          "--input-file", (directory_ / "large.txt").string(),
                                          "--out", (directory_ / "data/large").string()};
  for (const int signal : {SIGINT, SIGTERM}) {
    test::Process process(words, {}, directory_.path());
    while (fs::is_empty(directory_ / "data"))
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    process.send(signal);
    EXPECT_EQ(process.wait(), 128 + signal);
    EXPECT_NE(read_file(directory_ / "stderr").find("stopped by a signal"), std::string::npos)
        << read_file(directory_ / "stderr");
    EXPECT_TRUE(fs::is_empty(directory_ / "data"));
  }
}

TEST_F(Programs, PrepareStopsWhileSentencePieceWorks) {
  {
    std::ofstream text(directory_ / "text.txt");
    std::mt19937 random(1);
    for (int i = 0; i < 1'000'000; ++i) text << random() % 100'000 << (i % 10 == 9 ? '\n' : ' ');
  }
  fs::create_directory(directory_ / "data");
  const std::vector<std::string> words = {(fs::path(MMREC_BINARY_DIR) / "prepare").string(),
                                          "--input-file",
                                          (directory_ / "text.txt").string(),
                                          "--tokenizer",
                                          "bpe",
                                          "--out",
                                          (directory_ / "data/text").string()};
  for (const int signal : {SIGINT, SIGTERM}) {
    test::Process process(words, {}, directory_.path());
    const std::string children = fmt::format("/proc/{0}/task/{0}/children", process.id());
    std::string child;
    for (int i = 0; i < 20'000 && child.empty(); ++i) {
      std::ifstream(children) >> child;
      ::usleep(1'000);
    }
    ASSERT_FALSE(child.empty()) << "SentencePiece has no process of its own";
    process.send(signal);
    EXPECT_EQ(process.wait(), 128 + signal) << read_file(directory_ / "stderr");
    EXPECT_TRUE(fs::is_empty(directory_ / "data"));
    EXPECT_FALSE(fs::exists("/proc/" + child));
  }
}

TEST_F(Programs, PrepareCleansUpAfterAKilledOne) {
  {
    std::ofstream large(directory_ / "large.txt");
    for (int i = 0; i < 200; ++i) large << std::string(999'999, 'x') << '\n';
  }
  fs::create_directory(directory_ / "data");
  const fs::path out = directory_ / "data/text";
  {
    test::Process process({(fs::path(MMREC_BINARY_DIR) / "prepare").string(), "--input-file",
                           (directory_ / "large.txt").string(), "--out", out.string()},
                          {}, directory_.path());
    while (fs::is_empty(directory_ / "data"))
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    process.send(SIGKILL);
    EXPECT_EQ(process.wait(), -SIGKILL);
  }
  ASSERT_FALSE(fs::exists(out));
  const fs::path left = fs::directory_iterator(directory_ / "data")->path();
  const Outcome again =
      run("prepare", {"--input-file", (directory_ / "play.txt").string(), "--out", out.string()});
  ASSERT_EQ(again.code, 0) << again.errors;
  EXPECT_NE(again.output.find("tidied up " + left.string()), std::string::npos) << again.output;
  EXPECT_FALSE(fs::exists(left));
  EXPECT_TRUE(fs::exists(out / "manifest.json"));
}

}  // namespace
}  // namespace mmrec
