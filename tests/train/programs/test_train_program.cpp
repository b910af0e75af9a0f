#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support/atomic_file.h"
#include "support/names.h"
#include "tests/train/programs/program_test.h"
#include "train/data/tokenizer.h"
#include "train/run/checkpoint.h"
#include "train/run/metrics.h"

namespace mmrec {
namespace {

namespace fs = std::filesystem;
using test::Arguments;
using test::expect_failed;
using test::expect_no_checkpoint;
using test::Options;
using test::Outcome;
using test::Programs;

TEST_F(Programs, QuietTrainingSaysNothing) {
  Arguments arguments = small_run().arguments();
  arguments.push_back("--quiet");
  const Outcome outcome = run("train", arguments);
  EXPECT_EQ(outcome.code, 0);
  EXPECT_EQ(outcome.output + outcome.errors, "");
  EXPECT_TRUE(fs::exists(out() / "final_checkpoint"));
}

TEST_F(Programs, TrainRefusesWrongUse) {
  const auto expect_refused = [&](const std::string& name, const std::string& value,
                                  std::initializer_list<std::string_view> mentions, int code = 2) {
    const Options options = small_run().set(name, value);
    SCOPED_TRACE(name + " " + value);
    expect_failed(train(options), code, mentions);
    EXPECT_FALSE(fs::exists(out()));
  };
  expect_refused("--bacth", "4", {"unknown option --bacth", "did you mean --batch?"});
  expect_refused("--set", "dims=64", {"unknown field 'dims'", "dim, layers"});
  expect_refused("--set", "dim=wide", {"'dim'", "a whole number", "wide"});
  expect_refused("--set", "heads=3", {"heads", "must divide dim"});
  expect_refused("--arch", "mingru",
                 {"heads is 2", "arch mingru does not read it", "Leave it out"});
  expect_refused("--batch", "0", {"--batch", "0"});
  expect_refused("--batch", "four", {"--batch", "four"});
  expect_refused("--batch", "1000", {"batch of 1000", "--batch"});
  expect_refused("--seq", "0", {"--seq", "0"});
  expect_refused("--seq", "1025", {"--seq 1025", "max_seq 1024"});
  expect_refused("--steps", "-1", {"--steps", "-1"});
  expect_refused("--vocab", "1", {"--vocab 1", "at least 3"});
  expect_refused("--vocab", "many", {"--vocab many"});
  expect_refused("--lr", "nan", {"--lr", "nan"});
  expect_refused("--lr", "-1", {"--lr", "-1"});
  expect_refused("--lr", "1e39", {"--lr inf", "fit into a float"});
  expect_refused("--beta2", "0.99999999999", {"--beta2 1", "less than 1"});
  expect_refused("--accumulate", "0", {"--accumulate", "0"});
  expect_refused("--init", (directory_ / "missing").string(), {"--vocab", "--init"});
  expect_refused("--lr-min", "2x", {"minimum learning rate", "2x"});
  expect_refused("--trace", "", {"--trace is empty"});
  expect_refused("--resume", "", {"--resume is empty"});
  expect_refused("--dropout", "1", {"--dropout", "1"});
  expect_refused("--val-split", "1", {"--val-split", "1"});
  expect_refused("--threads", "0", {"--threads", "0"});
  expect_refused("--config", "huge", {"--config huge", "tiny, mini"});
  expect_refused("--val-tokens", "-1", {"--val-tokens", "-1"});
  Arguments twice = small_run().arguments();
  twice.insert(twice.end(), {"--seq", "16"});
  expect_failed(run("train", twice), 2, {"--seq is given 2 times"});

  for (const Arguments& more : {Arguments{}, {"--plan"}}) {
    Arguments arguments = small_run().set("--memory", "learnd").arguments();
    arguments.insert(arguments.end(), more.begin(), more.end());
    expect_failed(run("train", arguments), 2, {"memory must be random or learned, not learnd"});
  }

  const fs::path config = directory_ / "config.json";
  std::ofstream(config) << R"({"preset": "tiny", "dims": 64})";
  expect_refused("--config", config.string(), {"config.json", "unknown field 'dims'"});
  std::ofstream(config) << R"({"dim": 64,})";
  expect_refused("--config", config.string(),
                 {"config.json", "not valid JSON at line 1, column 12"}, 1);
}

TEST_F(Programs, NumbersAreDecimalAndInRange) {
  const auto expect_refused = [&](const std::string& name, const std::string& value,
                                  std::string_view range) {
    expect_failed(train(small_run().set(name, value)), 2,
                  {fmt::format("{}: {} is not", name, value), range});
  };
  expect_refused("--steps", "0x10", "a whole number from 1 to 1000000000000");
  expect_refused("--seed", "18446744073709551616", "from 0 to 18446744073709551615");
  expect_refused("--save-every", "9223372036854775808", "from 0 to 9223372036854775807");
  expect_refused("--val-tokens", "99999999999999999999", "from 0 to 9223372036854775807");
  expect_refused("--batch", "4294967297", "from 1 to 2147483647");
  expect_failed(train(small_run().set("--epochs", "").set("--set", "dim=0x20")), 2,
                {"--epochs:  is not a whole number"});
  EXPECT_FALSE(fs::exists(out()));

  ASSERT_EQ(
      train(small_run().set("--steps", "010").set("--seed", "08").set("--set", "layers=01")).code,
      0);
  EXPECT_EQ(read_metrics(out() / "metrics.jsonl").back().step, 10);
  const nlohmann::json state =
      nlohmann::json::parse(read_file(out() / "final_checkpoint/state.json"));
  EXPECT_EQ(state["seed"], 8);
  EXPECT_EQ(nlohmann::json::parse(read_file(out() / "config.json"))["layers"], 1);

  // Epochs and the figures of a plan are counted in 64 bits.
  const Options endless = small_run()
                              .set("--steps", "1000000000000")
                              .set("--keep", "2147483647")
                              .set("--out", (directory_ / "endless").string());
  Arguments plan = endless.arguments();
  plan.insert(plan.end(), {"--plan", "--json"});
  const nlohmann::json figures = nlohmann::json::parse(run("train", plan).output);
  EXPECT_EQ(figures["disk_bytes"].get<double>(),
            2147483649. * figures["checkpoint_bytes"].get<double>());
  EXPECT_EQ(figures["tokens"], int64_t{1'000'000'000'000} * 4 * 32);
  Options diverging = endless;
  const Outcome ended = train(diverging.set("--lr", "1e30").set("--warmup", "0"));
  EXPECT_EQ(ended.code, 1) << ended.errors;
  const int64_t epochs = (1'000'000'000'000 + figures["steps_per_epoch"].get<int64_t>() - 1) /
                         figures["steps_per_epoch"].get<int64_t>();
  EXPECT_NE(ended.output.find(fmt::format("epoch 1/{}", epochs)), std::string::npos)
      << ended.output;
  Arguments too_many =
      small_run().set("--steps", "1000000000000").set("--accumulate", "2").arguments();
  too_many.insert(too_many.end(), {"--plan", "--json"});
  EXPECT_EQ(nlohmann::json::parse(run("train", too_many).output)["tokens"],
            int64_t{1'000'000'000'000} * 4 * 2 * 32);
}

TEST_F(Programs, CommandLineBeatsTheOptionsFile) {
  const fs::path file = directory_ / "options.toml";
  const auto small = [&](const Arguments& more) {
    Arguments arguments = {"--options",   file.string(), "--out", out().string(),
                           "--overwrite", "--threads",   "1"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Outcome outcome = run("train", arguments);
    EXPECT_EQ(outcome.code, 0) << outcome.errors;
    return nlohmann::json::parse(read_file(out() / "config.json"));
  };
  const auto steps = [&] { return read_metrics(out() / "metrics.jsonl").back().step; };
  const std::string common = fmt::format(
      "data = \"{}\"\nvocab = \"auto\"\nseq = \"32\"\nbatch = \"4\"\nsample-tokens = \"0\"\n"
      "set = [\"dim=32\", \"layers=2\", \"heads=2\", \"mem_slots=64\"]\n",
      (directory_ / "play.txt").string());
  std::ofstream(file) << common << "steps = \"3\"\n";

  nlohmann::json config = small({});
  EXPECT_EQ(config["dim"], 32);
  EXPECT_EQ(config["layers"], 2);
  EXPECT_EQ(steps(), 3);
  config = small({"--set", "layers=1", "--set", "mem_slots=16", "--steps", "2"});
  EXPECT_EQ(config["dim"], 32) << "the file's";
  EXPECT_EQ(config["layers"], 1);
  EXPECT_EQ(config["mem_slots"], 16);
  EXPECT_EQ(steps(), 2);
  EXPECT_EQ(small({"--memory", "learned"})["memory"], "learned");

  std::ofstream(file) << common << "steps = \"2\"\nmemory = \"learned\"\n";
  EXPECT_EQ(small({})["memory"], "learned");
  EXPECT_EQ(small({"--set", "memory=random"})["memory"], "random");
  EXPECT_EQ(small({"--memory", "random"})["memory"], "random");

  small({"--epochs", "1"});
  const int64_t epoch = steps();
  EXPECT_GT(epoch, 3);
  std::ofstream(file) << common << "epochs = \"2\"\n";
  small({});
  EXPECT_EQ(steps(), 2 * epoch);
  small({"--steps", "2"});
  EXPECT_EQ(steps(), 2);
  const Outcome longer = run("train", {"--resume", out().string(), "--options", file.string(),
                                       "--steps", "4", "--threads", "1"});
  EXPECT_EQ(longer.code, 0) << longer.errors;
  EXPECT_EQ(steps(), 4);
  std::ofstream(file) << common << "epochs = \"2\"\nsteps = \"2\"\n";
  expect_failed(run("train", {"--options", file.string(), "--out", out().string()}), 2,
                {"--steps and --epochs both say how long"});
  small({"--steps", "1"});
  EXPECT_EQ(steps(), 1);

  fs::copy(out(), directory_ / "origin", fs::copy_options::recursive);
  // its tokenizer counts, not the file's vocab
  small({"--init", (directory_ / "origin").string(), "--steps", "1"});
  EXPECT_EQ(steps(), 1);
}

// For any names.
TEST_F(Programs, BestOfASearchIsReadBack) {
  for (const std::string name :
       {"a#b \"c\" 'd' \\e\\x41.txt", "tab\tnewline\n\r\x7f$.txt", "[\xe9,\xff].txt", "[x]"}) {
    const fs::path text = directory_ / name, out = directory_ / "search";
    fs::copy(directory_ / "play.txt", text);
    const Outcome searched =
        run("search",
            {"--grid", "seed=08,010", "--steps", "02", "--threads", "1", "--out", out.string(),
             "--", "--data", text.string(), "--vocab", "auto", "--set", "dim=32", "--seq", "32"});
    ASSERT_EQ(searched.code, 0) << searched.errors;
    const Outcome trained = run("train", {"--options", (out / "best.toml").string(), "--out",
                                          (directory_ / "best").string(), "--threads", "1"});
    ASSERT_EQ(trained.code, 0) << trained.errors << read_file(out / "best.toml");
    EXPECT_EQ(read_metrics(directory_ / "best/metrics.jsonl").back().step, 2);
    const nlohmann::json state =
        nlohmann::json::parse(read_file(directory_ / "best/final_checkpoint/state.json"));
    EXPECT_EQ(name_of_text(state["course"]["options"]["data"].get<std::string>()), text.string());
    EXPECT_TRUE(state["seed"] == 8 || state["seed"] == 10) << state["seed"];
    for (const char* folder : {"search", "best"}) fs::remove_all(directory_ / folder);
  }
}

TEST_F(Programs, TrainRefusesUnusableTexts) {
  const auto expect_refused = [&](const std::string& file, int code,
                                  std::initializer_list<std::string_view> mentions) {
    SCOPED_TRACE(file);
    expect_failed(train(small_run().set("--data", (directory_ / file).string())), code, mentions);
    EXPECT_FALSE(fs::exists(out()));
  };
  expect_refused("missing.txt", 1, {"missing.txt", "No such file", "check the path"});
  std::ofstream(directory_ / "empty.txt");
  expect_refused("empty.txt", 1, {"empty.txt is empty"});
  std::ofstream(directory_ / "short.txt") << "To be, or not to be";
  expect_refused("short.txt", 2, {"the training text has", "a window of 32 needs 33", "--seq"});
  std::ofstream(directory_ / "latin1.txt") << play().substr(0, 100) << '\xe9' << play().substr(100);
  expect_refused("latin1.txt", 1, {"latin1.txt: byte 100 (0xe9)", "UTF-8"});

  // The commands that are needed are in the message, to be copied.
  fs::create_directories(directory_ / "data/some texts");
  fs::create_directory(directory_ / "folder");
  std::ofstream(directory_ / "folder/a.txt") << play();
  const auto here = [&](const std::string& line) {
    return run_line("cd " + directory_.path().string() + " && PATH=" MMREC_BINARY_DIR ":$PATH && " +
                    line);
  };
  const auto expect_advice = [&](const std::string& data, const std::string& prepare,
                                 const std::string& then) {
    SCOPED_TRACE(data);
    expect_failed(here("train --plan --data " + data), 2,
                  {"make one with " + prepare + " and then give --data " + then});
  };
  const std::string make = "prepare --input-dir folder --out data/folder",
                    pattern_folder = "data/" + directory_.path().filename().string() + "-f-a-tx",
                    make_of_pattern = "prepare --input-file 'f*/a.tx?' --out " + pattern_folder;
  expect_advice("folder", make, "data/folder");
  expect_advice("folder --val-split 0.1", make, "data/folder");
  expect_advice("data/'some texts'/",
                "prepare --input-dir 'data/some texts/' --out 'data/some texts-prepared'",
                "'data/some texts-prepared'");
  expect_advice("'f*/a.tx?'", make_of_pattern, pattern_folder);
  for (const std::string& command : {make, make_of_pattern}) {
    const Outcome made =
        here(command + " && train --plan --data " + command.substr(command.rfind(' ')));
    EXPECT_EQ(made.code, 0) << made.errors;
  }
}

// A newcomer's first command for a tree of texts.
TEST_F(Programs, TrainPreparesFoldersAndPatterns) {
  fs::create_directories(directory_ / "folder/below");
  std::ofstream(directory_ / "folder/a.txt") << play();
  std::ofstream(directory_ / "folder/below/b.c") << play();
  const auto here = [&](const std::string& arguments) {
    return run_line("cd " + directory_.path().string() + " && " MMREC_BINARY_DIR "/train " +
                    arguments + " --set dim=32 --set layers=1 --steps 1 --sample-tokens 1");
  };
  std::ofstream(directory_ / "folder/below/latin.txt") << "caf\xe9";
  std::ofstream(directory_ / "folder/below/cut.tar.gz") << "\x1f\x8b";
  const Outcome made = here("--data folder --val-split 0.1");
  ASSERT_EQ(made.code, 0) << made.errors;
  for (const char* part :
       {"--data folder becomes the folder data/folder", "read: 2 files as text",
        "skipped: 1 no text in UTF-8 (folder/below/latin.txt)",
        "left out: 1 damaged (folder/below/cut.tar.gz)", "10.0 % asked for", "trained 1 step"})
    EXPECT_NE(made.output.find(part), std::string::npos) << part << "\n" << made.output;
  const Checkpoint checkpoint(directory_ / "checkpoints/folder/final_checkpoint");
  EXPECT_EQ(checkpoint.state.progress->options.data, (directory_ / "data/folder").string());
  expect_failed(here("--data folder"), 2, {"checkpoints/folder holds a run already"});
  EXPECT_EQ(here("--data folder/ --overwrite --val-split 0.1").code, 0);
  expect_failed(here("--data ''"), 2, {"--data is empty"});
  const Outcome resumed =
      run_line("cd " + directory_.path().string() +
               " && " MMREC_BINARY_DIR "/train --resume --out checkpoints/folder --steps 2");
  EXPECT_EQ(resumed.code, 0) << resumed.errors;

  // also where prepare has made it, by the path that was at hand
  const Outcome prepared = run_here("prepare --skip-bad --input-dir folder --out data/folder");
  EXPECT_EQ(prepared.code, 0) << prepared.errors;
  const Outcome same = here("--data folder --out same");
  EXPECT_EQ(same.code, 0) << same.errors;
  EXPECT_NE(same.output.find("is up to date"), std::string::npos) << same.output;

  std::ofstream(directory_ / "folder/c.txt") << play();
  const Outcome anew = run_here("prepare --skip-bad --input-dir folder --out data/folder");
  EXPECT_NE(anew.output.find("data/folder is made anew: it was of other texts"), std::string::npos)
      << anew.output << anew.errors;
  fs::remove(directory_ / "folder/c.txt");

  // What the programs wrote is no text.
  fs::create_directory(directory_ / "folder/work");
  fs::rename(directory_ / "same", directory_ / "folder/work/run");
  fs::copy(directory_ / "data", directory_ / "folder/work/data", fs::copy_options::recursive);
  const Outcome own = here("--data folder --out other");
  EXPECT_NE(own.output.find("2 made by train or prepare (folder/work/data/folder, "
                            "folder/work/run)"),
            std::string::npos)
      << own.output << own.errors;
  fs::remove_all(directory_ / "other");

  EXPECT_EQ(here("--data 'folder/*.txt'").code, 0);
  EXPECT_TRUE(fs::exists(directory_ / "checkpoints/folder-txt/best_model"));
  EXPECT_EQ(here("--data 'folder/*/*.c'").code, 0);
  EXPECT_TRUE(fs::exists(directory_ / "checkpoints/folder-c/best_model"));
  expect_failed(here("--data 'folder/*/*[c]' --out other"), 2,
                {"data/folder-c", "of something else", "prepare --input-file 'folder/*/*[c]'"});
  expect_failed(here("--data 'folder/*.h' --out other"), 2, {"folder/*.h"});
  // All that is wrong with a tree's files, and a second text that makes it long enough for pieces.
  std::ofstream(directory_ / "folder/rows.jsonl") << "{\"id\":1}\n";
  std::ofstream(directory_ / "folder/pages.xml.bz2")
      << read_file(fs::path(MMREC_SOURCE_DIR) / "tests/train/data/packed/pages.xml.bz2")
             .substr(0, 100);
  fs::copy(fs::path(MMREC_SOURCE_DIR) / "tests/train/data/packed/encrypted.zip",
           directory_ / "folder");
  std::ofstream long_text(directory_ / "folder/long.txt");
  for (int i = 0; i < 60'000; ++i) long_text << i << " is a number\n";
  long_text.close();
  const Outcome odd = here("--data folder --out odd");
  EXPECT_EQ(odd.code, 0) << odd.errors;
  for (const char* part :
       {"1 of another format (folder/rows.jsonl)",
        "2 damaged (folder/below/cut.tar.gz, folder/pages.xml.bz2)",
        "1 encrypted (folder/encrypted.zip/c.md)", "tokenizer: bpe", "data/folder is made anew"})
    EXPECT_NE(odd.output.find(part), std::string::npos) << part << "\n" << odd.output;

  fs::create_directory(directory_ / "empty");
  expect_failed(here("--data empty"), 2, {"--data empty: there are no files of text"});
  EXPECT_FALSE(fs::exists(directory_ / "other"));
}

TEST_F(Programs, TrainRefusesUnusableOutputFolders) {
  const fs::path file = directory_ / "file";
  std::ofstream(file) << "text";
  for (const fs::path& path : {file, file / "below"})
    expect_failed(train(small_run().set("--out", path.string())), 1,
                  {"cannot create directory", path.string(), "check the path"});
  EXPECT_EQ(read_file(file), "text");

  ASSERT_EQ(train(small_run()).code, 0);
  const std::string weights = read_file(out() / "final_checkpoint/model.safetensors");
  expect_failed(train(small_run().set("--seed", "7")), 2, {"holds a run already", "--overwrite"});
  // before the text is read
  expect_failed(train(small_run().set("--data", "missing.txt")), 2, {"holds a run already"});
  EXPECT_EQ(read_file(out() / "final_checkpoint/model.safetensors"), weights);
}

TEST_F(Programs, RunsAreNamedAfterTheirTexts) {
  const std::string line =
      "train --steps 2 --set dim=32 --set layers=1 --seq 32 --batch 2 --threads 1 "
      "--sample-tokens 0 --data ";
  ASSERT_EQ(run_here("prepare --input-file play.txt --out texts.2").code, 0);
  for (const auto& [text, folder] :
       {std::pair("play.txt", "play"), {"texts.2/", "texts.2"}, {"sample", "tiny"}}) {
    const Outcome outcome = run_here(line + text);
    EXPECT_EQ(outcome.code, 0) << outcome.errors;
    EXPECT_TRUE(fs::exists(directory_ / "checkpoints" / folder / "final_checkpoint")) << text;
  }
  const Outcome again = run_here("train --resume --data play.txt --steps 3");
  EXPECT_NE(again.output.find("going on after step 2 of 3"), again.output.npos) << again.errors;
  EXPECT_NE(again.output.find("generate --checkpoint checkpoints/play\n"), again.output.npos);
  EXPECT_NE(again.output.find(" bits a byte (step "), again.output.npos) << again.output;
  const Outcome newest = run_here("train --resume --steps 4");
  EXPECT_NE(newest.output.find("going on after step 3 of 4, from checkpoints/play/"),
            newest.output.npos)
      << newest.output << newest.errors;
  const Outcome report = run_here("report checkpoints");
  for (const char* name : {"checkpoints/play", "checkpoints/texts.2", "checkpoints/tiny"})
    EXPECT_NE(report.output.find(name), report.output.npos) << report.output << report.errors;
  expect_failed(run_here(line + "play.txt --config tiny"), 2,
                {"checkpoints/tiny holds a run already"});
}

TEST_F(Programs, TrainResumes) {
  ASSERT_EQ(train(small_run()).code, 0);
  // First the same command line again with --resume; then --resume with only the changed options.
  Arguments arguments = small_run().set("--steps", "5").set("--val-tokens", "auto").arguments();
  arguments.push_back("--resume");
  const Outcome again = run("train", arguments);
  ASSERT_EQ(again.code, 0) << again.errors;
  EXPECT_NE(again.output.find("going on after step 3 of 5"), std::string::npos) << again.output;
  const Outcome more = run("train", {"--resume", (out() / "final_checkpoint").string(), "--epochs",
                                     "1", "--lr", "1e-3", "--quiet"});
  ASSERT_EQ(more.code, 0) << more.errors;
  EXPECT_EQ(more.output, "");
  const std::string log = read_file(out() / "training_output.log");
  EXPECT_NE(log.find("changed: epochs 3 -> 1, lr 0.0003 -> 0.001, steps 5 -> none"),
            std::string::npos)
      << log;
  // search writes this line for every experiment, and the run began with it.
  std::ofstream(directory_ / "best.toml") << "warmup = \"auto\"\n";
  const Outcome of_a_file = run("train", {"--options", (directory_ / "best.toml").string(),
                                          "--resume", out().string(), "--quiet"});
  EXPECT_EQ(of_a_file.code, 0) << of_a_file.errors;

  const std::string folder = out().string();
  const auto expect_refused = [&](Arguments arguments,
                                  std::initializer_list<std::string_view> mentions) {
    arguments.push_back("--resume");
    expect_failed(run("train", arguments), 2, mentions);
  };
  expect_refused({"--out", folder, "--batch", "3"}, {"--batch 3", "begun with 4"});
  expect_refused({"--out", folder, "--seed", "3"}, {"--seed 3", "begun with 42"});
  expect_refused({"--out", folder, "--vocab", "100"}, {"--vocab 100", "begun with auto"});
  expect_refused({"--out", folder, "--set", "dim=64"}, {"another model", "dim 32 -> 64"});
  expect_refused({"--out", folder, "--config", "mini"}, {"another model", "dim 32 -> 256"});
  expect_refused({"--out", folder, "--warmup", "auto"},
                 {"--warmup auto", "keeps its warm-up, of 1 step; a number changes it"});
  expect_refused({"--out", folder, "--overwrite"}, {"--resume", "--overwrite"});
  expect_refused({"--out", folder, "--init", folder}, {"--resume", "--init"});
  for (const fs::path& other : {directory_.path(), directory_ / "nothing"})
    expect_failed(run("train", {"--out", other.string(), "--resume", folder}), 2,
                  {"--out", "--init"});
  expect_failed(run("train", {"--out", (directory_ / "nothing").string(), "--resume"}), 1,
                {"nothing", "no such folder"});
}

/// Returns the number after a line's name, such as gigabytes.
double figure(const std::string& text, const std::string& name) {
  const size_t place = text.find("\n" + name);
  if (place == text.npos) {
    ADD_FAILURE() << name << " is not in: " << text;
    return 0;
  }
  std::string digits;
  for (const char c : text.substr(place + 1 + name.size(), 40 - name.size()))
    if (c != ',') digits += c;
  return std::stod(digits);
}

TEST_F(Programs, TrainPlans) {
  Arguments arguments = small_run().arguments();
  arguments.push_back("--plan");
  const Outcome small = run("train", arguments);
  ASSERT_EQ(small.code, 0) << small.errors;
  EXPECT_FALSE(fs::exists(out()));
  ASSERT_EQ(train(small_run()).code, 0);
  const std::string log = read_file(out() / "training_output.log");
  EXPECT_NE(log.find(fmt::format("model: {} parameters",
                                 static_cast<int64_t>(figure(small.output, "parameters")))),
            std::string::npos)
      << log;
  EXPECT_EQ(figure(small.output, "  steps"), 3);
  EXPECT_EQ(figure(small.output, "  tokens"), 3 * 4 * 32);

  arguments.push_back("--json");
  const nlohmann::json figures = nlohmann::json::parse(run("train", arguments).output);
  EXPECT_EQ(figures["parameters"], figure(small.output, "parameters"));
  EXPECT_EQ(figures["steps"], 3);
  EXPECT_EQ(figures["tokens"], 3 * 4 * 32);
  EXPECT_NEAR(figures["memory_bytes"]["all"].get<double>() / 1e6, figure(small.output, "  in all"),
              0.1);
  EXPECT_EQ(figures["disk_bytes"], 5 * 12 * figures["parameters"].get<int64_t>());

  const Outcome large = run("train", {"--plan", "--config", "7b", "--threads", "1"});
  ASSERT_EQ(large.code, 0) << large.errors;
  const double parameters = figure(large.output, "parameters");
  EXPECT_NEAR(parameters, 9.8e9, 0.1e9);
  EXPECT_NEAR(figure(large.output, "  weights"), 4e-9 * parameters, 0.1);
  EXPECT_NEAR(figure(large.output, "  moments"), 8e-9 * parameters, 0.1);
  EXPECT_NEAR(figure(large.output, "  operations a token"), 6e-6 * parameters, 1e-6 * parameters)
      << "MFLOP: six a parameter, but for parts that feed nothing";
  EXPECT_GT(figure(large.output, "  to expect"), 0);
  EXPECT_NE(large.output.find("too many for this version"), std::string::npos) << large.output;
  EXPECT_EQ(figures["trainable"], true);

  expect_failed(run("train", {"--config", "7b", "--out", (directory_ / "large").string()}), 2,
                {"parameters is too large", "--plan"});
  expect_failed(run("train", {"--json", "--out", out().string()}), 2, {"--json", "--plan"});
  expect_failed(run("train", {"--plan", "--exact"}), 2, {"--exact", "--grow"});
  expect_failed(run("train", {"--plan", "--resume", "--out", out().string()}), 2,
                {"--plan", "--resume"});
  expect_failed(run("train", {"--plan", "--batch", "1000000"}), 2,
                {"1000000 sequences of 256 positions"});
}

TEST_F(Programs, PlansForRanks) {
  const auto plan = [&](const Options& options, const Arguments& more) {
    Arguments arguments = options.arguments();
    arguments.emplace_back("--plan");
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run("train", arguments);
  };
  const auto at_scale = [&](const Options& options, Arguments more) {
    more.emplace_back("--json");
    const Outcome outcome = plan(options, more);
    EXPECT_EQ(outcome.code, 0) << outcome.errors;
    return nlohmann::json::parse(outcome.output)["at_scale"];
  };
  const Options six = small_run().set("--batch", "2").set("--accumulate", "6");
  const nlohmann::json on_nodes = at_scale(six, {"--ranks", "6", "--network", "25Gbps,20us"});
  EXPECT_EQ(on_nodes["measured"], true);
  EXPECT_DOUBLE_EQ(on_nodes["network_delay_seconds"].get<double>(), 20e-6);
  ASSERT_EQ(on_nodes["rows"].size(), 4) << "1, 2, 4 and 6 ranks";
  for (const nlohmann::json& row : on_nodes["rows"]) {
    const int ranks = row["ranks"];
    EXPECT_GE(row["step_seconds"].get<double>(),
              row["computing_seconds"].get<double>() + row["optimizer_seconds"].get<double>());
    EXPECT_EQ(row["communicating_seconds"].get<double>() > 0, ranks > 1);
    EXPECT_NEAR(row["tokens_per_second"].get<double>() * row["step_seconds"].get<double>(),
                2 * 6 * 32, 1e-3);
    EXPECT_GE(row["hidden"], 0);
    EXPECT_GT(row["memory_bytes"], 0);
  }
  EXPECT_EQ(on_nodes["rows"][0]["efficiency"], 1);
  EXPECT_EQ(on_nodes["rows"][3]["ranks"], 6);

  // Moments are 8 bytes a parameter; a rank of six keeps a sixth of them.
  const nlohmann::json sharded =
      at_scale(six, {"--ranks", "6", "--network", "25Gbps,20us", "--shard-optimizer"});
  EXPECT_LT(sharded["rows"][3]["memory_bytes"], on_nodes["rows"][3]["memory_bytes"]);
  EXPECT_GT(sharded["rows"][3]["sent_bytes"], on_nodes["rows"][3]["sent_bytes"]);

  const nlohmann::json here = at_scale(Options(six).set("--threads", "2"), {"--ranks", "2"});
  EXPECT_EQ(here["ranks_per_node"], 2);
  EXPECT_EQ(here["threads"], 1);
  EXPECT_GT(here["node_copy_bytes_per_second"], 1e6);

  const Outcome large =
      plan({{"--config", "7b"}, {"--threads", "1"}}, {"--ranks", "2", "--network", "25Gbps,20us"});
  ASSERT_EQ(large.code, 0) << large.errors;
  for (const char* part : {"by the rates above", "2 on nodes of 1, 25 Gbit/s and 20 us",
                           "2 windows of a step are 2 parts"})
    EXPECT_NE(large.output.find(part), std::string::npos) << part << " is not in " << large.output;

  expect_failed(run("train", {"--ranks", "2"}), 2, {"--ranks", "--plan", "mpirun"});
  expect_failed(plan(six, {"--ranks", "7"}), 2, {"--ranks 7", "6 parts", "--accumulate 7"});
  expect_failed(plan(six, {"--ranks", "0"}), 2, {"--ranks", "1 to 1024"});
  expect_failed(plan(six, {"--network", "25Gbps,20us"}), 2, {"--network", "--ranks"});
  expect_failed(plan(six, {"--ranks", "2", "--ranks-per-node", "2"}), 2,
                {"--ranks-per-node 2", "--network"});
  expect_failed(plan(six, {"--ranks", "2", "--network", "25"}), 2, {"--network 25", "25Gbps,20us"});
  expect_failed(plan(six, {"--ranks", "2", "--network", ""}), 2, {"--network", "25Gbps,20us"});
}

TEST_F(Programs, PlansShowTheWarmUp) {
  const auto plan = [&](Options options, const Arguments& more = {}) {
    Arguments arguments = options.arguments();
    arguments.emplace_back("--plan");
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run("train", arguments).output;
  };
  const Options automatic = small_run().set("--warmup", "auto");
  EXPECT_EQ(figure(plan(Options(automatic).set("--steps", "378")), "  warm-up"), 100);
  EXPECT_EQ(
      figure(plan(Options(automatic).set("--steps", "60").set("--recipe", "text")), "  warm-up"),
      6);
  const std::string fills = plan(small_run().set("--steps", "60").set("--warmup", "60"));
  EXPECT_NE(fills.find("warning: the warm-up of 60 steps fills the run of 60"), fills.npos)
      << fills;
  const nlohmann::json json =
      nlohmann::json::parse(plan(small_run().set("--steps", "60"), {"--json"}));
  EXPECT_EQ(json["warmup"], 1);
  EXPECT_EQ(json["warmup_warning"], "");
}

/// Runs a program as another user with a limit on processes and threads.
Outcome run_limited(const fs::path& directory, rlim_t most, std::vector<std::string> words) {
  fs::permissions(directory, fs::perms::all);
  const pid_t child = ::fork();
  if (child == 0) {
    constexpr int kUser = 54322;
    const rlimit limits{most, most};
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    const auto open = [&](const char* name, int descriptor) {
      ::dup2(::open((directory / name).c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666), descriptor);
    };
    open("stdout", STDOUT_FILENO);
    open("stderr", STDERR_FILENO);
    if (::setresgid(kUser, kUser, kUser) == 0 && ::setresuid(kUser, kUser, kUser) == 0 &&
        ::setrlimit(RLIMIT_NPROC, &limits) == 0)
      ::execv(arguments[0], arguments.data());
    ::_exit(126);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status),
          read_file(directory / "stdout"), read_file(directory / "stderr")};
}

TEST_F(Programs, FewerThreadsThanRequestedGiveTheSameResult) {
  ASSERT_EQ(train(small_run()).code, 0);
  const std::string weights = read_file(out() / "final_checkpoint/model.safetensors");
  std::vector<std::string> words = {(fs::path(MMREC_BINARY_DIR) / "train").string()};
  for (const std::string& word : small_run()
                                     .set("--threads", "8")
                                     .set("--out", (directory_ / "limited").string())
                                     .arguments())
    words.push_back(word);
  if (::geteuid() != 0) GTEST_SKIP() << "another user's limits need root";
  const Outcome outcome = run_limited(directory_.path(), 3, words);
  if (outcome.code == 126) GTEST_SKIP() << "another user cannot run the programs";
  ASSERT_EQ(outcome.code, 0) << outcome.errors;
  EXPECT_TRUE(
      outcome.errors.starts_with("warning: 3 threads in place of 8: the system starts no more"))
      << outcome.errors;
  EXPECT_EQ(std::ranges::count(outcome.errors, '\n'), 1) << outcome.errors;
  EXPECT_NE(outcome.output.find(", 3 threads; kernels for"), std::string::npos) << outcome.output;
  EXPECT_TRUE(read_file(directory_ / "limited/final_checkpoint/model.safetensors") == weights);

  words.emplace_back("--quiet");
  words.emplace_back("--overwrite");
  EXPECT_EQ(run_limited(directory_.path(), 3, words).errors, "");
}

TEST_F(Programs, TrainStartsFromACheckpoint) {
  ASSERT_EQ(train(small_run()).code, 0);
  std::ofstream(directory_ / "other.txt") << play() << "\u20ac\u20ac";
  const Arguments arguments = {"--init",          out().string(),
                               "--data",          (directory_ / "other.txt").string(),
                               "--out",           (directory_ / "other").string(),
                               "--seq",           "32",
                               "--batch",         "4",
                               "--steps",         "2",
                               "--sample-tokens", "10",
                               "--threads",       "1"};
  const Outcome outcome = run("train", arguments);
  ASSERT_EQ(outcome.code, 0) << outcome.errors;
  for (const char* part :
       {"weights and tokenizer from", "dim 32", "have no token", "U+20AC (2)", "--extend-vocab"})
    EXPECT_NE(outcome.output.find(part), std::string::npos)
        << part << " is not in: " << outcome.output;
}

TEST_F(Programs, UpscaleGrowsAModel) {
  ASSERT_EQ(train(small_run().set("--set", "memory=learned")).code, 0);
  const std::string grown = (directory_ / "grown").string();
  const Outcome outcome = run("upscale", {"--from", out().string(), "--set", "dim=64", "--set",
                                          "layers=3", "--exact", "--out", grown});
  ASSERT_EQ(outcome.code, 0) << outcome.errors;
  for (const std::string& part :
       {std::string("dim 64, 3 layers"), std::string("[192, 32] -> [384, 64]"),
        std::string("block 2"), std::string("the logits are those of the old model"),
        "train --init " + grown})
    EXPECT_NE(outcome.output.find(part), std::string::npos)
        << part << " is not in: " << outcome.output;
  EXPECT_EQ(run("generate", {"--checkpoint", grown, "--prompt", "a", "--tokens", "5"}).code, 0);
  const Outcome more = run("train", {"--init", grown, "--data", (directory_ / "play.txt").string(),
                                     "--out", (directory_ / "more").string(), "--seq", "32",
                                     "--batch", "4", "--steps", "2", "--sample-tokens", "0"});
  EXPECT_EQ(more.code, 0) << more.errors;
}

TEST_F(Programs, TrainHasARecipe) {
  const Options own{{"--data", (directory_ / "play.txt").string()},
                    {"--out", out().string()},
                    {"--set", "dim=32"},
                    {"--set", "layers=2"},
                    {"--sample-tokens", "10"},
                    {"--threads", "1"}};
  const Outcome chosen = train(Options(own).set("--steps", "3"));
  EXPECT_EQ(chosen.code, 0) << chosen.errors;
  for (const char* part : {"recipe: 3 steps of 8 x 128", "muon", "vocabulary 64", "step 3/3"})
    EXPECT_NE(chosen.output.find(part), std::string::npos) << part << "\n" << chosen.output;
  const Checkpoint final(out() / "final_checkpoint");
  EXPECT_EQ(final.state.progress->options.optimizer.algorithm, "muon");
  EXPECT_EQ(final.config.gates, "spread");

  Arguments short_windows = Options(own).set("--steps", "1").arguments();
  short_windows.insert(short_windows.end(), {"--overwrite", "--set", "max_seq=64"});
  const Outcome fitted = run("train", short_windows);
  EXPECT_NE(fitted.output.find("recipe: 1 step of 16 x 64"), std::string::npos)
      << fitted.output << fitted.errors;

  const auto begin = std::chrono::steady_clock::now();
  const Outcome timed =
      train(Options(own).set("--time", "2s").set("--out", (directory_ / "timed").string()));
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  EXPECT_EQ(timed.code, 0) << timed.errors;
  EXPECT_LT(took.count(), 20) << "two seconds, on a machine that has other work";
  EXPECT_NE(timed.output.find("recipe: "), std::string::npos) << timed.output;

  expect_failed(train(Options(own).set("--time", "soon")), 2, {"--time soon", "5m"});
  expect_failed(train(Options(own).set("--time", "5m").set("--steps", "3")), 2,
                {"--time and --steps both say how long"});
  expect_failed(train(Options(own).set("--epochs", "2").set("--steps", "3")), 2,
                {"--steps and --epochs both say how long"});
  expect_failed(run("train", {"--resume", out().string(), "--time", "5m"}), 2,
                {"--time", "for new runs", "--steps"});
  expect_failed(run("train", {"--resume", out().string(), "--recipe", "documented"}), 2,
                {"--recipe", "for new runs"});
  expect_failed(run("train", {"--resume", out().string(), "--epochs", "2", "--steps", "3"}), 2,
                {"--steps and --epochs both say how long"});
  write_file_atomically(directory_ / "best.toml", "steps = \"900\"\n");
  const Outcome options = train(Options(own)
                                    .set("--time", "1s")
                                    .set("--options", (directory_ / "best.toml").string())
                                    .set("--eval-every", "1")
                                    .set("--out", (directory_ / "short").string()));
  EXPECT_EQ(options.code, 0) << options.errors;
  EXPECT_EQ(options.output.find("recipe: 900 steps"), std::string::npos) << options.output;
  for (const auto& [grow, gates] : {std::pair("tiny+dim=32+layers=1:1", "spread"),
                                    std::pair("tiny+gates=drawn+dim=32+layers=1:1", "drawn"),
                                    std::pair("tiny+arch=mingru+dim=32+layers=1:1", "drawn")}) {
    const std::string folder = (directory_ / grow).string();
    const Outcome grown = run("train", {"--data", (directory_ / "play.txt").string(), "--grow",
                                        grow, "--out", folder, "--sample-tokens", "0"});
    EXPECT_EQ(grown.code, 0) << grown.errors;
    EXPECT_EQ(Checkpoint(folder).config.gates, gates);
  }
  expect_failed(run("train", {"--data", (directory_ / "play.txt").string(), "--grow", "tiny"}), 2,
                {"'tiny' is not a size"});
  const Outcome again = run("train", {"--resume", (directory_ / "timed").string(), "--time", "2s"});
  EXPECT_EQ(again.code, 0) << again.errors;
  expect_failed(train(Options(own).set("--recipe", "best")), 2, {"no recipe 'best'", "documented"});
  expect_failed(train(Options(own).set("--optimizer", "sgd")), 2, {"no optimizer 'sgd'", "muon"});
}

TEST_F(Programs, TrainGrows) {
  const auto growing = [&](const Arguments& more) {
    Arguments arguments = {"--grow",          "tiny+dim=32:2,tiny+dim=64:2",
                           "--set",           "layers=2",
                           "--set",           "mem_slots=64",
                           "--data",          (directory_ / "play.txt").string(),
                           "--vocab",         "auto",
                           "--out",           out().string(),
                           "--seq",           "32",
                           "--batch",         "4",
                           "--sample-tokens", "10",
                           "--memory",        "learned"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run("train", arguments);
  };
  expect_failed(growing({"--steps", "4"}), 2, {"--grow and --steps both say how long"});
  expect_failed(growing({"--config", "mini"}), 2, {"--config", "--grow names several"});
  const Outcome plan = growing({"--plan"});
  for (const char* part :
       {"phase 1 of 2, tiny+gates=spread+dim=32+layers=2+mem_slots=64+memory=learned: steps 1 to 2",
        "phase 2 of 2", "all phases"})
    EXPECT_NE(plan.output.find(part), std::string::npos) << part << " is not in: " << plan.output;
  const nlohmann::json planned = nlohmann::json::parse(growing({"--plan", "--json"}).output);
  EXPECT_EQ(planned["steps"], 4);
  EXPECT_EQ(planned["tokens"], 4 * 4 * 32);
  EXPECT_LT(planned["phases"][0]["parameters"], planned["phases"][1]["parameters"]);
  EXPECT_EQ(planned["phases"][1]["steps"], 2);
  EXPECT_EQ(planned["phases"][0]["memory_bytes"]["smaller"], 0);
  EXPECT_EQ(planned["phases"][1]["memory_bytes"]["smaller"],
            planned["phases"][0]["memory_bytes"]["weights"]);
  expect_failed(growing({"--plan", "--set", "heads=3"}), 2, {"heads"});
  expect_failed(run("train", {"--grow", "tiny:2,mini+vocab_size=30:2", "--plan"}), 2,
                {"mini+vocab_size=30", "--vocab"});
  expect_failed(growing({"--init", out().string()}), 2, {"--grow", "upscale"});
  EXPECT_FALSE(fs::exists(out()));
  const Outcome outcome = growing({"--exact"});
  ASSERT_EQ(outcome.code, 0) << outcome.errors;
  for (const char* part :
       {"phase 2 of 2, tiny+gates=spread+dim=64+layers=2+mem_slots=64+memory=learned",
        "steps 3 to 4", "trained 4 steps", "sample of generated text"})
    EXPECT_NE(outcome.output.find(part), std::string::npos)
        << part << " is not in: " << outcome.output;
  EXPECT_EQ(Checkpoint(out()).config.dim, 64);
  EXPECT_EQ(read_metrics(out() / "metrics.jsonl").size(), 6u);
  expect_failed(run("train", {"--resume", out().string(), "--steps", "9"}), 2,
                {"--steps", "--grow tiny+gates=spread+dim=32"});
  expect_failed(run("train", {"--resume", out().string(), "--grow", "tiny:9"}), 2,
                {"--grow", "was begun with"});
  const Outcome report = run("report", {out().string()});
  EXPECT_EQ(report.code, 0) << report.errors;
}

TEST_F(Programs, UpscaleRefusesWrongUse) {
  ASSERT_EQ(train(small_run()).code, 0);
  const std::string from = out().string(), to = (directory_ / "grown").string();
  const auto expect_refused = [&](Arguments arguments, std::vector<std::string_view> mentions,
                                  int code = 2) {
    expect_failed(run("upscale", arguments), code, mentions);
    EXPECT_FALSE(fs::exists(to));
  };
  expect_refused({"--from", from, "--set", "dim=64"}, {"--out is missing"});
  expect_refused({"--out", to, "--set", "dim=64"}, {"--from is missing"});
  expect_refused({"--from", from, "--out", to}, {"say what to grow to", "--config"});
  expect_refused({"--from", to, "--out", to, "--config", "mini"}, {"grown"}, 1);
  expect_refused({"--from", from, "--out", to, "--config", "huge"},
                 {"--config huge", "tiny, mini"});
  expect_refused({"--from", from, "--out", to, "--set", "heads=3"}, {"heads must divide dim = 32"});
  expect_refused({"--from", from, "--out", to, "--set", "layers=1", "--exact"},
                 {"layers would shrink from 2 to 1"});
  expect_failed(run("upscale", {"--from", from, "--out", from, "--set", "dim=64"}), 2,
                {"--out", "something already"});
}

TEST_F(Programs, TrainStopsAtANonFiniteLoss) {
  expect_failed(train(small_run().set("--lr", "1e30").set("--warmup", "0")), 1,
                {"step 2", "not finite (loss nan,", "--lr"});
  expect_no_checkpoint(out());
}

/// What a preset gives for another architecture is left out; what the user gives is not.
TEST_F(Programs, TrainTakesThePresetsForEveryArchitecture) {
  const auto plan = [&](const std::string& config, const Arguments& more) {
    Arguments arguments = {"--plan", "--config", config, "--threads", "1"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run("train", arguments);
  };
  const auto expect_layers = [](const Outcome& outcome, const std::string& layers) {
    EXPECT_EQ(outcome.code, 0) << outcome.errors;
    EXPECT_NE(outcome.output.find(layers + ", vocabulary"), std::string::npos) << outcome.output;
  };
  const auto file = [&](const std::string& content) {
    const fs::path path = directory_ / "given.json";
    std::ofstream(path) << content;
    return path.string();
  };
  const std::string mingru = "dim 2048   16 layers, minGRU",
                    mmrec = "dim 2048   16 layers, 16 heads, DPG";
  expect_layers(plan("tiny", {"--arch", "mingru"}), "4 layers, minGRU");
  expect_layers(plan("medium", {"--arch", "mingru"}), mingru);
  expect_layers(plan("medium", {"--set", "arch=mingru"}), mingru);
  expect_layers(plan(file(R"({"preset": "medium", "arch": "mingru"})"), {}), mingru);
  expect_layers(plan(file(R"({"preset": "medium"})"), {"--arch", "mingru"}), mingru);
  expect_layers(plan(file(R"({"preset": "medium", "arch": "mmrec"})"), {"--arch", "mingru"}),
                mingru);
  expect_layers(plan(file(R"({"preset": "medium", "arch": "mingru"})"), {"--arch", "mmrec"}),
                mmrec);

  const std::string_view unread = "arch mingru does not read it";
  expect_failed(plan("medium", {"--arch", "mingru", "--set", "heads=16"}), 2,
                {"heads is 16", unread});
  expect_failed(plan("tiny", {"--arch", "mingru", "--memory", "learned"}), 2,
                {"memory is learned", unread});
  expect_failed(plan(file(R"({"preset": "medium", "heads": 16})"), {"--arch", "mingru"}), 2,
                {"heads is 16", unread});
  expect_failed(plan(file(R"({"arch": "mingru", "uboo": true})"), {}), 2, {"uboo is true", unread});
}

TEST_F(Programs, AModelOfAnotherArchitectureLeavesBehindWhatItDoesNotRead) {
  ASSERT_EQ(train(small_run()).code, 0);
  const Config before = Checkpoint(out()).config;
  const fs::path to = directory_ / "grown";
  const Outcome grown =
      run("upscale", {"--from", out().string(), "--out", to.string(), "--set", "arch=mingru"});
  EXPECT_EQ(grown.code, 0) << grown.errors;
  EXPECT_EQ(Checkpoint(to).config, base_for({"arch=mingru"}, before));
  EXPECT_EQ(before.heads, 2);
  expect_failed(run("upscale", {"--from", out().string(), "--out", (directory_ / "other").string(),
                                "--set", "arch=mingru", "--set", "heads=2"}),
                2, {"heads is 2", "arch mingru does not read it"});

  const fs::path growing = directory_ / "growing";
  const Outcome phases =
      run("train", {"--grow", "tiny+dim=32+layers=1:2,small+dim=64+layers=1:2", "--arch", "mingru",
                    "--data", (directory_ / "play.txt").string(), "--vocab", "auto", "--out",
                    growing.string(), "--seq", "32", "--batch", "4", "--sample-tokens", "0"});
  EXPECT_EQ(phases.code, 0) << phases.errors;
  EXPECT_EQ(Checkpoint(growing).config.heads, Config{}.heads) << "not small's 8";
}

/// A small file system, if this process may mount one.
class TinyFileSystem {
 public:
  TinyFileSystem(const fs::path& place, int kibibytes) : place_(place) {
    fs::create_directory(place);
    mounted_ = ::mount("tmpfs", place.c_str(), "tmpfs", 0,
                       fmt::format("size={}k", kibibytes).c_str()) == 0;
  }
  ~TinyFileSystem() {
    if (mounted_) ::umount2(place_.c_str(), MNT_DETACH);
  }
  TinyFileSystem(const TinyFileSystem&) = delete;
  TinyFileSystem& operator=(const TinyFileSystem&) = delete;
  bool mounted() const { return mounted_; }

 private:
  fs::path place_;
  bool mounted_;
};

TEST_F(Programs, FullDiskCostsNoEarlierCheckpoint) {
  const TinyFileSystem disk(directory_ / "disk", 1500);  // a checkpoint takes about 570
  if (!disk.mounted())
    GTEST_SKIP() << "this process may not mount a file system: " << std::strerror(errno);
  const fs::path out = directory_ / "disk/run";
  expect_failed(train(small_run()
                          .set("--out", out.string())
                          .set("--steps", "4")
                          .set("--save-every", "1")
                          .set("--keep", "9")),
                1, {"No space left on device", "checkpoint_step_000003", "free some space"});
  std::vector<std::string> folders;
  for (const fs::directory_entry& entry : fs::directory_iterator(out))
    if (entry.is_directory()) folders.push_back(entry.path().filename().string());
  std::sort(folders.begin(), folders.end());
  EXPECT_EQ(folders,
            (std::vector<std::string>{"checkpoint_step_000001", "checkpoint_step_000002"}));
  EXPECT_EQ(read_file(out / "latest"), "checkpoint_step_000002\n");
  for (const fs::path& checkpoint :
       {out / "checkpoint_step_000001", out / "checkpoint_step_000002", out}) {
    const Outcome text = generate({{"--checkpoint", checkpoint.string()}});
    EXPECT_EQ(text.code, 0) << text.errors;
  }
}

/// What is done with a text works with tokens of bytes and of pieces.
TEST_F(Programs, OtherTokenizers) {
  const std::string text = (directory_ / "play.txt").string();
  for (const std::string tokenizer : {"bytes", "bpe"}) {
    SCOPED_TRACE(tokenizer);
    const bool is_bpe = tokenizer == "bpe";
    const std::string unit = is_bpe ? "tokens" : "bytes",
                      folder = (directory_ / ("data_" + tokenizer)).string(),
                      vocabulary = is_bpe ? "320" : "auto";
    const Outcome prepared = run("prepare", {"--input-file", text, "--out", folder, "--tokenizer",
                                             tokenizer, "--vocab", vocabulary});
    ASSERT_EQ(prepared.code, 0) << prepared.errors;
    EXPECT_NE(prepared.output.find("as text: 3000 characters"), std::string::npos);
    EXPECT_NE(prepared.output.find(unit + " for training"), std::string::npos) << prepared.output;

    // The same run from the folder and from the text, also when it is resumed.
    const fs::path run_of_text = directory_ / ("text_" + tokenizer),
                   run_of_folder = directory_ / ("folder_" + tokenizer);
    Options of_folder = small_run().set("--data", folder).set("--out", run_of_folder.string());
    Options of_text = small_run().set("--tokenizer", tokenizer).set("--out", run_of_text.string());
    if (is_bpe) of_text.set("--vocab", "320"), of_folder.set("--vocab", "320");
    ASSERT_EQ(train(of_folder).code, 0);
    const Outcome begun = train(of_text.set("--steps", "2"));
    ASSERT_EQ(begun.code, 0) << begun.errors;
    const Outcome resumed =
        run("train", {"--resume", "--out", run_of_text.string(), "--steps", "3", "--threads", "1"});
    ASSERT_EQ(resumed.code, 0) << resumed.errors;
    EXPECT_EQ(Checkpoint(run_of_text / "final_checkpoint").tokenizer,
              Checkpoint(run_of_folder / "final_checkpoint").tokenizer);
    EXPECT_EQ(read_file(run_of_text / "final_checkpoint/model.safetensors"),
              read_file(run_of_folder / "final_checkpoint/model.safetensors"));
    EXPECT_EQ(fs::exists(run_of_text / "final_checkpoint/tokenizer.model"), is_bpe);
    EXPECT_EQ(fs::exists(run_of_text / "final_checkpoint/tokenizer.json"), !is_bpe);
    expect_failed(train(of_folder.set("--tokenizer", "char").set("--out", "other")), 2,
                  {"--tokenizer char", folder, tokenizer});
    expect_failed(run("train", {"--resume", "--out", run_of_text.string(), "--tokenizer", "char"}),
                  2, {"--tokenizer char", "begun with " + tokenizer});

    const auto evaluated = [&](const std::string& data) {
      const Outcome outcome =
          run("evaluate", {"--checkpoint", run_of_text.string(), "--data", data, "--json"});
      EXPECT_EQ(outcome.code, 0) << outcome.errors;
      return nlohmann::json::parse(outcome.output);
    };
    const nlohmann::json figures = evaluated(text);
    EXPECT_GT(figures[unit], 0);
    EXPECT_FALSE(figures.contains("bits_per_character"));
    const double bits = figures["loss"].get<double>() / std::log(2);
    if (is_bpe)
      EXPECT_LT(figures["bits_per_byte"], bits);
    else
      EXPECT_DOUBLE_EQ(figures["bits_per_byte"], bits);
    // A folder with tokens of its own is read as its text.
    const std::string characters = (directory_ / "data_char").string();
    run("prepare", {"--input-file", text, "--out", characters});
    EXPECT_EQ(evaluated(characters)["loss"], figures["loss"]);

    const std::string checkpoint = run_of_text.string(),
                      state = (directory_ / ("state_" + tokenizer)).string();
    const Options prompt = {{"--checkpoint", checkpoint}, {"--prompt", "O \U0001F98A"}};
    const Outcome said = generate(Options(prompt).set("--state", state));
    EXPECT_EQ(said.code, 0) << said.errors;
    EXPECT_EQ(said.errors, "");
    EXPECT_EQ(said.output.substr(0, 6), "O \U0001F98A");
    EXPECT_NO_THROW(check_utf8(said.output, "the text"));
    EXPECT_EQ(generate(Options(prompt).set("--state", state)).code, 0);
    Arguments json = {"--json", "--samples", "3", "--tokens", "50", "--temperature", "3"};
    for (const std::string& word : prompt.arguments()) json.push_back(word);
    const Outcome texts = run("generate", json);
    EXPECT_EQ(nlohmann::json::parse(texts.output)["texts"].size(), 3u) << texts.errors;
    const Outcome talk = run(
        "generate", {"--checkpoint", checkpoint, "--interactive", "--tokens", "9"}, {}, "é\n\n");
    EXPECT_EQ(talk.code, 0) << talk.errors;

    Options next =
        small_run().set("--init", checkpoint).set("--out", run_of_text.string() + "_next");
    Arguments init;
    for (const std::string& word : next.arguments()) init.push_back(word);
    init.erase(std::ranges::find(init, "--vocab"), std::ranges::find(init, "--vocab") + 2);
    EXPECT_EQ(run("train", init).code, 0);
    init.insert(init.end(), {"--extend-vocab", "--overwrite"});
    expect_failed(run("train", init), 2, {"--extend-vocab", "nothing is unknown"});
    EXPECT_EQ(run("report", {checkpoint}).code, 0);
  }
  expect_failed(train(small_run().set("--tokenizer", "words")), 2,
                {"words", "char, bytes and bpe"});
}

/// The same text with the same split gives the same run, from the file or from a folder made of it.
TEST_F(Programs, PreparedDataTrainsLikeTheText) {
  const fs::path folder = directory_ / "data/play", text = directory_ / "play.txt";
  const Outcome prepared =
      run("prepare", {"--input-file", text.string(), "--out", folder.string()});
  ASSERT_EQ(prepared.code, 0) << prepared.errors;
  EXPECT_NE(prepared.output.find("characters for training"), std::string::npos) << prepared.output;
  const Outcome again =
      run("prepare", {"--input-file", text.string(), "--out", folder.string() + "/"});
  EXPECT_EQ(again.output, folder.string() + " is up to date\n");
  const Outcome few = run("prepare", {"--input-file", text.string(), "--out",
                                      (directory_ / "few").string(), "--vocab", "10"});
  EXPECT_NE(few.output.find("have no token and are read as <UNK>"), std::string::npos)
      << few.output;

  expect_failed(train(small_run().set("--data", folder.string()).set("--val-split", "0.5")), 2,
                {"--val-split 0.5", "divided already"});

  ASSERT_EQ(train(small_run()).code, 0);
  expect_failed(run("evaluate", {"--checkpoint", out().string(), "--data", folder.string(),
                                 "--val-split", "0.5"}),
                2, {"divided already"});
  const fs::path from_folder = directory_ / "from_folder";
  const Outcome trained =
      train(small_run().set("--data", folder.string()).set("--out", from_folder.string()));
  ASSERT_EQ(trained.code, 0) << trained.errors;
  for (const char* file : {"model.safetensors", "optimizer.safetensors", "tokenizer.json"})
    EXPECT_TRUE(read_file(out() / "final_checkpoint" / file) ==
                read_file(from_folder / "final_checkpoint" / file))
        << file;

  // A run that began with one of them can be resumed with the other.
  for (const auto& [run_folder, data] : {std::pair(out(), folder), {from_folder, text}}) {
    const Outcome longer = run("train", {"--resume", "--out", run_folder.string(), "--data",
                                         data.string(), "--steps", "5", "--quiet"});
    EXPECT_EQ(longer.code, 0) << longer.errors;
  }
  EXPECT_TRUE(read_file(out() / "final_checkpoint/model.safetensors") ==
              read_file(from_folder / "final_checkpoint/model.safetensors"));
}

TEST_F(Programs, PreparedDataResumeAndUseAnotherTokenizer) {
  const auto prepare = [&](const std::string& name, const std::string& text) {
    std::ofstream(directory_ / (name + ".txt")) << text;
    const Outcome outcome = run("prepare", {"--input-file", (directory_ / (name + ".txt")).string(),
                                            "--out", (directory_ / name).string(), "--quiet"});
    EXPECT_EQ(outcome.code, 0) << outcome.errors;
    EXPECT_EQ(outcome.output, "");
  };
  prepare("first", play());
  prepare("second", play() + " ÄÖÜ ÄÖ Ä");
  const std::string first = (directory_ / "first").string(),
                    second = (directory_ / "second").string();
  ASSERT_EQ(train(small_run().set("--data", first)).code, 0);
  const Outcome longer =
      run("train", {"--resume", "--out", out().string(), "--steps", "5", "--quiet"});
  EXPECT_EQ(longer.code, 0) << longer.errors;
  expect_failed(
      run("train", {"--resume", "--out", out().string(), "--steps", "7", "--data", second}), 1,
      {"not the text that the run was begun with"});

  // The weights keep their own tokenizer, with a folder as with the text it was made from.
  for (const char* more : {"--seed=1", "--extend-vocab"}) {
    SCOPED_TRACE(more);
    const auto outcome = [&](const std::string& data, const std::string& name) {
      return run("train", {"--init", out().string(), "--data", data, "--out",
                           (directory_ / name).string(), "--steps", "2", "--seq", "32", "--batch",
                           "4", "--sample-tokens", "0", "--overwrite", "--threads", "1", more});
    };
    const Outcome of_text = outcome(second + ".txt", "tuned_text"),
                  of_folder = outcome(second, "tuned_folder");
    ASSERT_EQ(of_text.code, 0) << of_text.errors;
    ASSERT_EQ(of_folder.code, 0) << of_folder.errors;
    const bool extended = std::string_view(more) == "--extend-vocab";
    EXPECT_EQ(
        of_folder.output.find("Ä U+00C4 (3), Ö U+00D6 (2), Ü U+00DC (1)") == std::string::npos,
        extended)
        << of_folder.output;
    for (const char* file : {"model.safetensors", "tokenizer.json"})
      EXPECT_TRUE(read_file(directory_ / "tuned_text/final_checkpoint" / file) ==
                  read_file(directory_ / "tuned_folder/final_checkpoint" / file))
          << file;
  }

  // A folder whose tokens do not have all of the text: other tokens are made of the text itself.
  const fs::path lossy = directory_ / "lossy";
  ASSERT_EQ(run("prepare", {"--input-file", first + ".txt", "--out", lossy.string(), "--tokenizer",
                            "char", "--vocab", "12"})
                .code,
            0);
  const auto loss_on = [&](const std::string& data) {
    const Outcome outcome =
        run("evaluate", {"--checkpoint", out().string(), "--data", data, "--json"});
    EXPECT_EQ(outcome.code, 0) << outcome.errors;
    return nlohmann::json::parse(outcome.output).at("loss").get<double>();
  };
  EXPECT_EQ(loss_on(lossy.string()), loss_on(first + ".txt"));
  fs::remove(lossy / "val.txt");
  expect_failed(run("evaluate", {"--checkpoint", out().string(), "--data", lossy.string()}), 1,
                {"its text was removed", "prepare it again"});
}

TEST_F(Programs, TrainDescribesItsText) {
  const auto say = [&](const fs::path& data, std::initializer_list<std::string_view> parts) {
    const Outcome outcome = train(small_run().set("--data", data.string()).set("--steps", "1"));
    EXPECT_EQ(outcome.code, 0) << outcome.errors;
    for (const std::string_view part : parts) {
      EXPECT_NE(outcome.output.find(part), std::string::npos) << part << "\n" << outcome.output;
      EXPECT_NE(read_file(out() / "training_output.log").find(part), std::string::npos) << part;
    }
    fs::remove_all(out());
  };
  const fs::path text = directory_ / "play.txt", lines = directory_ / "part-00000",
                 documents = directory_ / "UP.JSONL";
  say(text, {"read: " + text.string() + " as text: ", "split: 2", " % asked for"});
  for (const fs::path& file : {lines, documents})
    std::ofstream(file) << nlohmann::json{{"text", play().substr(0, 100)}} << "\n"
                        << nlohmann::json{{"text", play()}} << "\n";
  say(lines, {lines.string() + ": its lines are JSON objects"});
  say(documents, {"read: " + documents.string() + " as JSON lines: 2 documents, ",
                  "0.0 % of the bytes", "no validation text"});
  EXPECT_EQ(
      run("prepare", {"--input-file", text.string(), "--out", (directory_ / "data").string()}).code,
      0);
  say(directory_ / "data", {"read: " + (directory_ / "data").string() + ", made by prepare: "});
}

TEST_F(Programs, PlansAndEvaluationsDescribeTheirText) {
  const fs::path lines = directory_ / "part-00000";
  for (int i = 0; i < 20; ++i)
    std::ofstream(lines, std::ios::app) << nlohmann::json{{"text", play()}} << "\n";
  const std::string read = "read: " + lines.string() + " as text: ",
                    odd = "warning: " + lines.string() + ": its lines are JSON objects";
  const auto has = [](const std::string& text, const std::string& part) {
    EXPECT_NE(text.find(part), std::string::npos) << part << " is not in: " << text;
  };
  const Options options = small_run().set("--data", lines.string());
  Arguments plan = options.arguments();
  plan.push_back("--plan");
  const std::string planned = run("train", plan).output;
  for (const std::string& part : {read, odd}) has(planned, "\n" + part);
  plan.push_back("--json");
  const nlohmann::json figures = nlohmann::json::parse(run("train", plan).output);
  ASSERT_EQ(figures["data_summary"].size(), 3u) << figures;
  has(figures["data_summary"][0], read);
  has(figures["data_summary"][1], lines.string() + ": its lines are JSON objects");

  ASSERT_EQ(train(options).code, 0);
  Arguments arguments = {"--checkpoint", out().string(), "--threads", "1"};
  const Outcome evaluated = run("evaluate", arguments);
  has(evaluated.output, read);
  has(evaluated.output, "split: 2");
  has(evaluated.errors, odd);
  arguments.push_back("--json");
  const Outcome json = run("evaluate", arguments);
  EXPECT_EQ(nlohmann::json::parse(json.output)["data"], lines.string());
  has(json.errors, odd);
  arguments.push_back("--quiet");
  EXPECT_EQ(run("evaluate", arguments).errors, "");
}

}  // namespace
}  // namespace mmrec
