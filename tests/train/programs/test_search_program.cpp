#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support/atomic_file.h"
#include "support/child_process.h"
#include "support/directory_lock.h"
#include "tests/common/bf16.h"
#include "tests/common/process.h"
#include "tests/train/programs/program_test.h"
#include "train/run/checkpoint.h"
#include "train/run/metrics.h"

namespace mmrec {
namespace {

namespace fs = std::filesystem;
using test::Arguments;
using test::expect_failed;
using test::Outcome;
using test::Programs;

/// The phases say how long each experiment is: search adds no length of its own.
TEST_F(Programs, SearchTriesSettingsOfAGrowingRun) {
  const Outcome searched =
      run("search", {"--data", (directory_ / "play.txt").string(), "--grid", "lr=1e-3,3e-3",
                     "--out", (directory_ / "search").string(), "--", "--grow",
                     "tiny+dim=32:2,tiny+dim=64:1", "--vocab", "auto", "--seq", "32"});
  ASSERT_EQ(searched.code, 0) << searched.errors << searched.output;
  const Outcome best = run("train", {"--options", (directory_ / "search" / "best.toml").string(),
                                     "--out", out().string(), "--sample-tokens", "0"});
  ASSERT_EQ(best.code, 0) << best.errors;
  EXPECT_EQ(Checkpoint(out()).config.dim, 64);
}

class Searches : public Programs {
 protected:
  fs::path folder() const { return directory_ / "search"; }
  /// Arguments of a search over small runs with these options.
  Arguments search(Arguments options, const std::string& steps = "3") const {
    options.insert(options.end(), {"--out", folder().string(), "--threads", "1", "--data",
                                   (directory_ / "play.txt").string(), "--steps", steps, "--"});
    for (const char* word : {"--set", "dim=32", "--set", "layers=2", "--set", "heads=2", "--set",
                             "mem_slots=64", "--vocab", "auto", "--batch=4", "--warmup", "1"})
      options.emplace_back(word);
    return options;
  }
  std::vector<nlohmann::json> results() const {
    std::vector<nlohmann::json> rows;
    std::istringstream lines(read_file(folder() / "results.jsonl"));
    for (std::string line; std::getline(lines, line);) rows.push_back(nlohmann::json::parse(line));
    return rows;
  }
};

TEST_F(Searches, FindTheBestAndSurviveFailures) {
  const Arguments arguments =
      search({"--grid", "lr=1e-5,1e-2", "--grid", "seq=32,2000", "--jobs", "2"});
  const Outcome outcome = run("search", arguments);
  ASSERT_EQ(outcome.code, 0) << outcome.errors;
  const std::vector<nlohmann::json> rows = results();
  ASSERT_EQ(rows.size(), 4u) << outcome.output;
  std::map<std::string, nlohmann::json> good;
  for (const nlohmann::json& row : rows) {
    if (row["settings"]["seq"] == "2000") {
      EXPECT_NE(row["error"].get<std::string>().find("max_seq 1024"), std::string::npos) << row;
    } else {
      EXPECT_EQ(row["error"], "");
      EXPECT_DOUBLE_EQ(row["perplexity"], std::exp(row["validation_loss"].get<double>()));
      good[row["settings"]["lr"]] = row;
    }
  }
  ASSERT_EQ(good.size(), 2u);
  EXPECT_LT(good["1e-2"]["validation_loss"], good["1e-5"]["validation_loss"]);
  // The table has the best first and the failed ones last.
  const std::string table = outcome.output.substr(outcome.output.find("\n\n"));
  EXPECT_LT(table.find("1e-2"), table.find("1e-5")) << table;
  EXPECT_LT(table.find("1e-5"), table.find("failed")) << table;

  // Its options file makes the same run.
  const Outcome best = run("train", {"--options", (folder() / "best.toml").string(), "--out",
                                     out().string(), "--threads", "1", "--sample-tokens", "0"});
  ASSERT_EQ(best.code, 0) << best.errors;
  EXPECT_EQ(read_metrics(out() / "metrics.jsonl").back().loss, good["1e-2"]["validation_loss"]);
  // Command line beats file.
  const Outcome other = run("train", {"--options", (folder() / "best.toml").string(), "--out",
                                      out().string(), "--overwrite", "--steps", "2"});
  ASSERT_EQ(other.code, 0) << other.errors;
  EXPECT_EQ(read_metrics(out() / "metrics.jsonl").back().step, 2);

  // Called again, nothing is left to do. With one more value, only that is done.
  const std::string before = read_file(folder() / "results.jsonl");
  for (const char* name : {"table.csv", "table.md"}) {
    Arguments with_table = arguments;
    const auto rest = std::ranges::find(with_table, "--");
    with_table.insert(rest, {"--table", (directory_ / name).string()});
    EXPECT_EQ(run("search", with_table).code, 0);
  }
  EXPECT_EQ(read_file(folder() / "results.jsonl"), before);
  const std::string csv = read_file(directory_ / "table.csv");
  EXPECT_TRUE(csv.starts_with(
      "lr,seq,bits/byte,perplexity,loss,accuracy,train loss,steps,time,error\n1e-2,32,"))
      << csv;
  EXPECT_EQ(std::ranges::count(csv, '\n'), 5) << csv;
  EXPECT_NE(csv.find("failed,,,,,,,"), csv.npos) << csv;
  EXPECT_NE(csv.find("max_seq 1024"), csv.npos) << csv;
  EXPECT_TRUE(
      read_file(directory_ / "table.md").starts_with("| lr | seq | bits/byte | perplexity |"));
  expect_failed(run("search", {"--grid", "lr=1", "--table", "table.txt"}), 2,
                {"--table table.txt", ".csv", ".md"});
  const Outcome more =
      run("search", search({"--grid", "lr=1e-5,1e-2,1e-3", "--grid", "seq=32", "--json"}));
  ASSERT_EQ(more.code, 0) << more.errors;
  EXPECT_TRUE(read_file(folder() / "results.jsonl").starts_with(before));
  const nlohmann::json all = nlohmann::json::parse(more.output);
  ASSERT_EQ(all.size(), 5u);
  for (size_t i = 1; i < 3; ++i)
    EXPECT_LE(all[i - 1]["validation_loss"], all[i]["validation_loss"]);
  EXPECT_NE(all[3]["error"], "");

  // Failed experiments are retried on request.
  ASSERT_EQ(
      run("search", search({"--grid", "lr=1e-5", "--grid", "seq=32,2000", "--retry-failed"})).code,
      0);
  EXPECT_EQ(results().size(), 5u) << "and those that this search does not try stay";
  expect_failed(run("search", search({"--grid", "lr=1e-5,1e-2"}, "4")), 2,
                {"other settings in common", "steps", "--out"});
}

/// A token of characters is easier to guess than one of pieces, but there are more of them.
TEST_F(Searches, CompareDifferentTokensByBitsPerByte) {
  const Outcome outcome = run("search", search({"--grid", "tokenizer=char,bpe", "--json"}));
  ASSERT_EQ(outcome.code, 0) << outcome.errors;
  const nlohmann::json rows = nlohmann::json::parse(outcome.output);
  ASSERT_EQ(rows.size(), 2u);
  for (const nlohmann::json& row : rows) ASSERT_EQ(row["error"], "");
  EXPECT_EQ(rows[0]["settings"]["tokenizer"], "bpe");
  EXPECT_LT(rows[0]["bits_per_byte"], rows[1]["bits_per_byte"]);
  EXPECT_GT(rows[0]["validation_loss"], rows[1]["validation_loss"]);
  const std::string best = read_file(folder() / "best.toml");
  EXPECT_NE(best.find("tokenizer = \"bpe\""), best.npos) << best;
  EXPECT_NE(best.find(fmt::format("{:.3f} bits a byte", rows[0]["bits_per_byte"].get<double>())),
            best.npos)
      << best;

  // Results of an earlier version have no bits per byte: with one of them among all, the losses
  // compare.
  std::string lines;
  for (nlohmann::json row : rows) {
    if (row["settings"]["tokenizer"] == "char") row.erase("bits_per_byte");
    lines += row.dump() + "\n";
  }
  std::ofstream(folder() / "results.jsonl") << lines;
  const Outcome again = run("search", search({"--grid", "tokenizer=char,bpe", "--json"}));
  EXPECT_EQ(nlohmann::json::parse(again.output)[0]["settings"]["tokenizer"], "char");
}

TEST_F(Searches, GoOnAfterAStop) {
  Arguments arguments =
      search({"--grid", "lr=1e-3,1e-2", "--grid", "seq=32", "--jobs", "2"}, "120");
  arguments.resize(arguments.size() - 2);  // without --warmup: auto, which a resumed run keeps
  ASSERT_EQ(run("search", arguments).code, 0);
  const std::vector<nlohmann::json> want = results();
  ASSERT_EQ(want.size(), 2u);
  fs::remove_all(folder());

  for (const int signal : {SIGINT, SIGTERM}) {
    std::vector<std::string> words = {(fs::path(MMREC_BINARY_DIR) / "search").string()};
    words.insert(words.end(), arguments.begin(), arguments.end());
    test::Process process(words, {}, directory_.path());
    // Both are running when the second has written steps that it had not written before.
    const auto steps = [&](const char* lr) {
      const fs::path metrics = folder() / fmt::format("experiments/lr={},seq=32/metrics.jsonl", lr);
      return fs::exists(metrics) ? read_metrics(metrics).size() : 0;
    };
    const size_t first = steps("1e-3") + 5, second = steps("1e-2") + 5;
    for (int i = 0; i < 2000 && (steps("1e-3") < first || steps("1e-2") < second); ++i)
      ::usleep(10'000);
    process.send(signal);
    EXPECT_EQ(process.wait(), 128 + signal) << read_file(directory_ / "stderr");
    EXPECT_NE(read_file(directory_ / "stdout").find("the same command goes on"), std::string::npos);
    EXPECT_FALSE(fs::exists(folder() / "results.jsonl"));
  }
  const Outcome outcome = run("search", arguments);
  ASSERT_EQ(outcome.code, 0) << outcome.errors;
  std::vector<nlohmann::json> have = results();
  ASSERT_EQ(have.size(), 2u);
  for (const nlohmann::json& row : want) {
    const auto same = std::ranges::find_if(
        have, [&](const nlohmann::json& other) { return other["settings"] == row["settings"]; });
    ASSERT_NE(same, have.end());
    for (const char* figure : {"error", "validation_loss", "accuracy", "steps", "tokens"})
      EXPECT_EQ((*same)[figure], row[figure]) << figure;
  }
}

/// A search that stops experiments early. They have 40 steps, so that the rungs are 5, 10 and 20.
class SearchesThatStopEarly : public Searches {
 protected:
  Arguments halving(const std::string& rates, const Arguments& more = {"--stop-early"}) const {
    Arguments arguments = search({"--grid", "lr=" + rates}, "40");
    arguments.insert(std::ranges::find(arguments, "--"), more.begin(), more.end());
    return arguments;
  }
  /// Returns the lines of results.jsonl, sorted, without what depends on time.
  std::set<std::string> decisions() const {
    std::set<std::string> lines;
    for (nlohmann::json row : results()) {
      row.erase("seconds");
      EXPECT_TRUE(lines.insert(row.dump()).second) << "twice: " << row;
    }
    return lines;
  }
  std::string final_weights(const char* rate) const {
    const fs::path file =
        folder() / fmt::format("experiments/lr={}", rate) / "final_checkpoint/model.safetensors";
    return fs::exists(file) ? read_file(file) : "";
  }
};

TEST_F(SearchesThatStopEarly, EndWithTheBestsWeights) {
  constexpr const char* kRates = "1e-5,1e-2,1e-4,1e-3";
  ASSERT_EQ(run("search", halving(kRates, {})).code, 0);
  const std::string weights = final_weights("1e-2");
  const std::vector<nlohmann::json> whole = results();
  ASSERT_NE(weights, "");
  expect_failed(run("search", halving(kRates)), 2,
                {"without --stop-early", "with --stop-early=2", "choose another --out"});
  fs::remove_all(folder());

  const Outcome outcome = run("search", halving(kRates));
  ASSERT_EQ(outcome.code, 0) << outcome.errors;
  std::map<std::string, std::vector<int>> steps;
  for (const nlohmann::json& row : results()) steps[row["settings"]["lr"]].push_back(row["steps"]);
  EXPECT_EQ(steps["1e-5"], std::vector<int>{5});
  EXPECT_EQ(steps["1e-4"], std::vector<int>{5});
  EXPECT_EQ(steps["1e-3"], (std::vector<int>{5, 10}));
  EXPECT_EQ(steps["1e-2"], (std::vector<int>{5, 10, 20, 40}));
  EXPECT_TRUE(final_weights("1e-2") == weights);
  EXPECT_EQ(results().back()["validation_loss"], whole[1]["validation_loss"]);
  EXPECT_EQ(results()[0]["part"], 0.125);
  EXPECT_FALSE(results().back().contains("part"));
  for (const char* part :
       {"4 of 4 experiments go on to 1/8 of their steps", "2 of 4 experiments go on to 1/4",
        "1 of 4 experiments go on to their ends", "step 10", "3 of 4 experiments were stopped"})
    EXPECT_NE(outcome.output.find(part), std::string::npos) << part << "\n" << outcome.output;

  // The one that came farthest is the second.
  const std::string lines = read_file(folder() / "results.jsonl");
  Arguments json = halving(kRates);
  json.insert(json.begin(), "--json");
  const nlohmann::json ranked = nlohmann::json::parse(run("search", json).output);
  EXPECT_EQ(read_file(folder() / "results.jsonl"), lines) << "nothing is left to do";
  ASSERT_EQ(ranked.size(), 4u);
  EXPECT_EQ(ranked[0]["settings"]["lr"], "1e-2");
  EXPECT_EQ(ranked[1]["settings"]["lr"], "1e-3");
  EXPECT_LT(ranked[2]["validation_loss"], ranked[3]["validation_loss"]);
}

TEST_F(SearchesThatStopEarly, DecideTheSameHoweverOftenTheyAreStopped) {
  const Arguments arguments =
      halving("1e-5,1e-2,1e-4,1e-3,3e-3", {"--stop-early=3", "--jobs", "2"});
  ASSERT_EQ(run("search", arguments).code, 0);
  const std::set<std::string> want = decisions();
  const std::string weights = final_weights("1e-2");
  fs::remove_all(folder());

  std::vector<std::string> words = {(fs::path(MMREC_BINARY_DIR) / "search").string()};
  words.insert(words.end(), arguments.begin(), arguments.end());
  int stops = 0;
  for (int code = -1; code != 0; ++stops) {
    test::Process process(words, {}, directory_.path());
    // longer each time, so that the search comes to an end
    ::usleep(static_cast<useconds_t>(100'000 * (1 + stops)));
    process.send(stops % 2 == 0 ? SIGKILL : SIGTERM);
    code = process.wait();
    ASSERT_TRUE(code == 0 || code == -SIGKILL || code == 128 + SIGTERM || code == -SIGTERM)
        << code << read_file(directory_ / "stderr");
  }
  EXPECT_GT(stops, 2);
  EXPECT_EQ(decisions(), want);
  EXPECT_TRUE(final_weights("1e-2") == weights);
}

TEST_F(SearchesThatStopEarly, EndTheSameWithValuesThatComeLater) {
  ASSERT_EQ(run("search", halving("1e-5,1e-2,1e-4,1e-3")).code, 0);
  const std::set<std::string> want = decisions();
  fs::remove_all(folder());
  // 1e-4 is stopped in favour of 1e-2 here, as one of two
  ASSERT_EQ(run("search", halving("1e-4,1e-2")).code, 0);
  ASSERT_EQ(run("search", halving("1e-5,1e-2,1e-4,1e-3")).code, 0);
  EXPECT_EQ(decisions(), want);
  // Of six, three go on: 1e-4, which was stopped, does now.
  ASSERT_EQ(run("search", halving("1e-5,1e-2,1e-4,1e-3,1e-6,2e-5")).code, 0);
  std::vector<int> steps;
  for (const nlohmann::json& row : results())
    if (row["settings"]["lr"] == "1e-4") steps.push_back(row["steps"]);
  EXPECT_EQ(steps, (std::vector<int>{5, 10}));
}

TEST_F(SearchesThatStopEarly, CountFailuresAmongTheWorse) {
  const Outcome outcome =
      run("search", halving("1e-2,1e-3", {"--grid", "seq=32,2000", "--stop-early"}));
  ASSERT_EQ(outcome.code, 0) << outcome.errors;
  std::map<std::string, int> steps;
  for (const nlohmann::json& row : results())
    if (row["error"] == "") steps[row["settings"]["lr"]] = row["steps"];
  EXPECT_EQ(steps, (std::map<std::string, int>{{"1e-2", 40}, {"1e-3", 10}}));
  EXPECT_NE(outcome.output.find("2 failed; with --retry-failed"), std::string::npos)
      << outcome.output;

  // Where there is no validation, nothing can be compared.
  fs::remove_all(folder());
  Arguments arguments = halving("1e-2,1e-3");
  arguments.insert(arguments.end(), {"--val-split", "0"});
  expect_failed(run("search", arguments), 1, {"no experiment succeeded", "no validation"});
}

TEST_F(SearchesThatStopEarly, RefuseWrongUse) {
  const auto expect_refused = [&](const Arguments& arguments,
                                  const std::vector<std::string_view>& mentions) {
    expect_failed(run("search", arguments), 2, mentions);
    EXPECT_FALSE(fs::exists(folder()));
  };
  expect_refused(halving("1e-2"), {"--stop-early compares experiments, and there is one"});
  for (const char* factor : {"0", "1", "11", "2.5", "half"})
    expect_refused(halving("1e-2,1e-3", {std::string("--stop-early=") + factor}),
                   {fmt::format("--stop-early: {} is not", factor), "from 2 to 10"});
  ASSERT_EQ(run("search", halving("1e-2,1e-3")).code, 0);
  const std::string lines = read_file(folder() / "results.jsonl");
  expect_failed(run("search", halving("1e-2,1e-3", {"--stop-early=3"})), 2,
                {"--stop-early=2", "--stop-early=3", "choose another --out"});
  EXPECT_EQ(read_file(folder() / "results.jsonl"), lines);
}

/// Returns the id of a process that was started with this argument.
std::optional<pid_t> process_with_argument(const std::string& word) {
  for (const fs::directory_entry& entry : fs::directory_iterator("/proc")) {
    std::ifstream file(entry.path() / "cmdline", std::ios::binary);
    for (std::string argument; std::getline(file, argument, '\0');)
      if (argument == word) return std::stoi(entry.path().filename().string());
  }
  return std::nullopt;
}

TEST_F(Searches, WaitForAProcessInAnExperimentsFolder) {
  const fs::path experiment = folder() / "experiments/lr=1e-3";
  fs::create_directories(experiment);
  std::optional<DirectoryLock> lock(experiment);
  std::vector<std::string> words = {(fs::path(MMREC_BINARY_DIR) / "search").string()};
  for (const std::string& word : search({"--grid", "lr=1e-3,1e-2"})) words.push_back(word);
  test::Process process(words, {}, directory_.path());
  const auto wait_until = [](const auto& holds) {
    for (int i = 0; i < 3000 && !holds(); ++i) ::usleep(10'000);
  };
  std::error_code missing;
  wait_until([&] { return fs::file_size(folder() / "results.jsonl", missing) > 0 && !missing; });
  ASSERT_EQ(results().size(), 1u);
  EXPECT_EQ(results()[0]["settings"]["lr"], "1e-2") << "the one whose folder is free";
  lock.reset();
  EXPECT_EQ(process.wait(), 0) << read_file(directory_ / "stderr");
  ASSERT_EQ(results().size(), 2u);
  EXPECT_EQ(results()[1]["error"], "");
  const std::string said = read_file(directory_ / "stdout");
  EXPECT_NE(said.find("lr=1e-3: waiting for the process that is still in"), said.npos) << said;
}

TEST_F(Searches, StayInTheirFolderWhenTheNameIsReused) {
  const fs::path moved = directory_ / "moved";
  std::vector<std::string> words = {(fs::path(MMREC_BINARY_DIR) / "search").string()};
  for (const std::string& word : search({"--grid", "lr=1e-3,3e-3,1e-2"}, "60"))
    words.push_back(word);
  test::Process process(words, {}, directory_.path());
  for (int i = 0; i < 6000 && !fs::exists(folder() / "results.jsonl"); ++i) ::usleep(10'000);
  fs::rename(folder(), moved);
  fs::create_directory(folder());
  EXPECT_EQ(process.wait(), 0) << read_file(directory_ / "stderr");
  EXPECT_TRUE(fs::is_empty(folder()));
  EXPECT_TRUE(fs::exists(moved / "best.toml"));
  fs::remove(folder());
  fs::rename(moved, folder());
  ASSERT_EQ(results().size(), 3u);
  for (const nlohmann::json& row : results()) EXPECT_EQ(row["error"], "") << row;
}

TEST_F(Searches, ExternallyStoppedExperimentIsReported) {
  std::vector<std::string> words = {(fs::path(MMREC_BINARY_DIR) / "search").string()};
  const Arguments arguments = search({"--grid", "seq=32,2000"}, "1000000");
  words.insert(words.end(), arguments.begin(), arguments.end());
  test::Process process(words, {}, directory_.path());
  const fs::path metrics = folder() / "experiments/seq=32/metrics.jsonl";
  for (int i = 0; i < 3000 && (!fs::exists(metrics) || read_metrics(metrics).empty()); ++i)
    ::usleep(10'000);
  ASSERT_TRUE(fs::exists(metrics));
  const std::optional<pid_t> experiment =
      process_with_argument("--out=" + metrics.parent_path().string());
  ASSERT_TRUE(experiment);
  ::kill(*experiment, SIGTERM);
  EXPECT_EQ(process.wait(), 1);
  const std::string errors = read_file(directory_ / "stderr"),
                    said = read_file(directory_ / "stdout");
  for (const char* part :
       {"1 of the experiments stopped from outside", "seq=32", "the same command goes on"})
    EXPECT_NE(errors.find(part), errors.npos) << part << " is not in: " << errors;
  EXPECT_NE(said.find("1 failed; with --retry-failed"), said.npos) << said;
}

TEST_F(Searches, DamagedExperimentBecomesAFailedRow) {
  ASSERT_EQ(run("search", search({"--grid", "lr=1e-3,1e-2"})).code, 0);
  fs::remove(folder() / "results.jsonl");
  std::ofstream(folder() / "experiments/lr=1e-3/metrics.jsonl") << "{}\n";
  ASSERT_EQ(run("search", search({"--grid", "lr=1e-3,1e-2"})).code, 0);
  ASSERT_EQ(results().size(), 2u);
  EXPECT_NE(results()[0]["error"].get<std::string>().find("metrics.jsonl: line 1"),
            std::string::npos)
      << results()[0];
  EXPECT_EQ(results()[1]["error"], "");
  ASSERT_EQ(run("search", search({"--grid", "lr=1e-3,1e-2", "--retry-failed"})).code, 0);
  for (const nlohmann::json& row : results()) EXPECT_EQ(row["error"], "") << row;
}

TEST_F(Searches, UseOneText) {
  Arguments arguments = search({"--grid", "lr=1e-3"});
  *std::ranges::find(arguments, (directory_ / "play.txt").string()) =
      fs::relative(directory_ / "play.txt").string();
  ASSERT_EQ(run("search", arguments).code, 0);
  EXPECT_NE(read_file(folder() / "best.toml")
                .find("data = \"" + (directory_ / "play.txt").string() + "\""),
            std::string::npos);
  EXPECT_EQ(run("search", search({"--grid", "lr=1e-3"})).code, 0)
      << "the same text, by its whole path";
  std::ofstream(directory_ / "play.txt") << play().substr(100);
  expect_failed(run("search", search({"--grid", "lr=1e-3,1e-2"})), 2,
                {"play.txt is no longer the text", "choose another --out"});
  std::ofstream(directory_ / "play.txt") << "\uFEFF" << play();
  EXPECT_EQ(run("search", search({"--grid", "lr=1e-3"})).code, 0)
      << "a mark is no part of the text";
  std::ofstream(directory_ / "play.txt") << "\uFEFF" << play().substr(100);
  expect_failed(run("search", search({"--grid", "lr=1e-3"})), 2,
                {"then (if the data are as they were: earlier versions kept a byte order mark"});
  EXPECT_EQ(results().size(), 1u);
}

TEST_F(Searches, DescribeTheirTextOnce) {
  const fs::path lines = directory_ / "play.txt";
  std::ofstream(lines, std::ios::trunc);
  for (int i = 0; i < 20; ++i)
    std::ofstream(lines, std::ios::app) << nlohmann::json{{"text", play()}} << "\n";
  const auto count = [](std::string_view text, std::string_view part) {
    int found = 0;
    for (size_t place = text.find(part); place != text.npos; place = text.find(part, place + 1))
      ++found;
    return found;
  };
  const std::string odd = lines.string() + ": its lines are JSON objects";
  const Outcome people = run("search", search({"--grid", "lr=1e-3,1e-2"}));
  ASSERT_EQ(people.code, 0) << people.errors;
  EXPECT_EQ(count(people.output, "read: " + lines.string() + " as text: "), 1) << people.output;
  EXPECT_EQ(count(people.output, odd), 1) << people.output;
  const Outcome json = run("search", search({"--grid", "lr=1e-3,1e-2", "--json"}));
  EXPECT_EQ(nlohmann::json::parse(json.output).size(), 2u);
  EXPECT_EQ(count(json.errors, "warning: " + odd), 1) << json.errors;
  EXPECT_EQ(run("search", search({"--grid", "lr=1e-3,1e-2", "--json", "--quiet"})).errors, "");
}

TEST_F(Searches, UseOneConfiguration) {
  const fs::path config = directory_ / "small.json";
  const auto write = [&](int dim) {
    std::ofstream(config) << fmt::format(
        R"({{"dim": {}, "layers": 1, "heads": 2, "mem_slots": 64, "vocab_size": 80}})", dim);
  };
  const auto search_with = [&](const std::string& name, const std::string& rates,
                               const Arguments& more = {}) {
    Arguments arguments = {
        "--grid", "lr=" + rates, "--out", folder().string(), "--threads",
        "1",      "--steps",     "3",     "--data",          (directory_ / "play.txt").string()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    arguments.insert(arguments.end(), {name, "--", "--seq", "32", "--batch=4"});
    return run("search", arguments);
  };
  write(32);
  const std::string relative = "--config=" + fs::relative(config).string();
  ASSERT_EQ(search_with(relative, "1e-3").code, 0);
  // An edited configuration is another search. An unchanged one is the same search under any of its
  // names.
  write(64);
  expect_failed(
      search_with(relative, "1e-3,1e-2"), 2,
      {"small.json is no longer the configuration", "dim 32 -> 64", "choose another --out"});
  EXPECT_EQ(results().size(), 1u);
  write(32);
  ASSERT_EQ(search_with("--config=" + config.string(), "1e-3,1e-2").code, 0);
  ASSERT_EQ(results().size(), 2u);
  // After deletion it is not needed any more. The best one's file works without it and without the
  // search's folder.
  fs::remove(config);
  ASSERT_EQ(search_with("--config=" + config.string(), "1e-3,1e-2,1e-4").code, 0);
  ASSERT_EQ(results().size(), 3u);
  for (const nlohmann::json& row : results()) EXPECT_EQ(row["error"], "") << row;
  EXPECT_EQ(read_file(folder() / "best.toml").find((directory_ / "s").string()), std::string::npos)
      << "neither small.json nor search";
  write(64);
  const Outcome best = run("train", {"--options", (folder() / "best.toml").string(), "--out",
                                     out().string(), "--threads", "1"});
  ASSERT_EQ(best.code, 0) << best.errors;
  EXPECT_EQ(nlohmann::json::parse(read_file(out() / "config.json"))["dim"], 32);
  EXPECT_EQ(nlohmann::json::parse(read_file(out() / "config.json"))["vocab_size"], 80);

  // Also as a value of a grid.
  fs::remove_all(folder());
  const auto try_both = [&] {
    return search_with("--grid=config=tiny," + config.string(), "1e-3", {"--retry-failed"});
  };
  ASSERT_EQ(try_both().code, 0);
  EXPECT_EQ(results().size(), 2u);
  write(32);
  expect_failed(try_both(), 2, {"small.json is no longer the configuration", "dim 64 -> 32"});
}

TEST_F(Searches, UseOneCheckpoint) {
  const auto train_first = [&](const std::string& seed) {
    ASSERT_EQ(
        run("train", {"--out", out().string(), "--overwrite", "--data",
                      (directory_ / "play.txt").string(), "--steps", "2", "--seed", seed,
                      "--set=dim=32", "--set=layers=1", "--set=heads=2", "--set=mem_slots=64",
                      "--vocab=auto", "--seq=32", "--batch=4", "--sample-tokens=0", "--threads=1"})
            .code,
        0);
  };
  const auto search_with = [&](const std::string& rates) {
    return run("search", {"--grid", "lr=" + rates, "--out", folder().string(), "--threads", "1",
                          "--steps", "2", "--data", (directory_ / "play.txt").string(), "--",
                          "--init", out().string(), "--seq=32", "--batch=4"});
  };
  train_first("1");
  ASSERT_EQ(search_with("1e-3").code, 0);
  train_first("2");
  expect_failed(
      search_with("1e-3,1e-2"), 2,
      {"no longer has the weights that the search in", "step 2, ", "choose another --out"});
  EXPECT_EQ(results().size(), 1u);
  train_first("1");
  ASSERT_EQ(search_with("1e-3,1e-2").code, 0) << "the same weights again";
  EXPECT_EQ(results().size(), 2u);
}

TEST_F(Searches, UnreadableSourcesStartNoExperiment) {
  const std::string none = (directory_ / "none").string();
  for (const char* option : {"data", "init", "config"}) {
    const Outcome tried =
        run("search", {"--grid", fmt::format("{}={}", option, none), "--grid=lr=1e-3", "--out",
                       folder().string(), "--steps=1"});
    EXPECT_NE(tried.code, 0);
    EXPECT_NE(tried.errors.find(none), std::string::npos) << tried.errors;
    EXPECT_FALSE(fs::exists(folder() / "results.jsonl"));
  }
  EXPECT_EQ(run("search", search({"--grid=lr=1e-3"})).code, 0) << "and the folder can be used";
}

TEST_F(Searches, OfAnEarlierVersionKeepTheirWarmUp) {
  Arguments arguments = search({"--grid", "lr=1e-3"}, "20");
  arguments.erase(arguments.end() - 2, arguments.end());  // without --warmup
  ASSERT_EQ(run("search", arguments).code, 0);
  const auto peak_step = [&](const std::string& lr) {
    const std::vector<MetricsRow> rows =
        read_metrics(folder() / ("experiments/lr=" + lr) / "metrics.jsonl");
    return std::ranges::max_element(
               rows, {}, [](const MetricsRow& row) { return std::isnan(row.lr) ? 0 : row.lr; })
        ->step;
  };
  EXPECT_EQ(peak_step("1e-3"), 3) << "after a warm-up of a tenth of the run";
  nlohmann::json description = nlohmann::json::parse(read_file(folder() / "search.json"));
  description.erase("configs");
  description.erase("default_warmup");
  std::ofstream(folder() / "search.json") << description;
  for (const std::string lr : {"2e-3", "3e-3"}) {
    arguments[1] = "lr=" + lr;
    ASSERT_EQ(run("search", arguments).code, 0);
    EXPECT_EQ(peak_step(lr), 20) << "its warm-up was of 100 steps";
  }
}

TEST_F(Searches, WarnOfAWarmUpThatFillsTheRuns) {
  Arguments arguments = search({"--grid", "lr=1e-3,1e-2"});
  arguments.back() = "3";
  const Outcome outcome = run("search", arguments);
  ASSERT_EQ(outcome.code, 0) << outcome.errors;
  for (const nlohmann::json& row : results())
    EXPECT_NE(row["warning"].get<std::string>().find("warm-up of 3 steps fills the run of 3"),
              std::string::npos)
        << row;
  EXPECT_NE(outcome.output.find("(so it is with 2 experiments)"), std::string::npos)
      << outcome.output;
  EXPECT_EQ(run("search", arguments).code, 0) << "and the results can be read again";
}

TEST_F(Searches, WarnOfAnotherPrecisionThanWasAskedFor) {
  const Outcome outcome =
      run("search", search({"--grid", "precision=float32,bf16"}), {"MMREC_MAX_ISA=avx512"});
  ASSERT_EQ(outcome.code, 0) << outcome.errors;
  for (const nlohmann::json& row : results()) {
    const bool fell_back = row["settings"]["precision"] == "bf16";
    EXPECT_EQ(row.value("warning", "").starts_with("it was computed in float32, not in bf16"),
              fell_back)
        << row;
  }
  EXPECT_NE(outcome.output.find("precision=bf16: it was computed in float32"), std::string::npos)
      << outcome.output;
}

TEST_F(Searches, UnstartableExperimentCostsNoOther) {
  // its output cannot be written here
  fs::create_directories(folder() / "experiments/lr=1e-2.output");
  const Outcome outcome = run("search", search({"--grid", "lr=1e-3,1e-2,1e-4", "--jobs", "2"}));
  ASSERT_EQ(outcome.code, 0) << outcome.errors;
  ASSERT_EQ(results().size(), 3u) << outcome.output;
  for (const nlohmann::json& row : results())
    if (row["settings"]["lr"] == "1e-2")
      EXPECT_NE(row["error"].get<std::string>().find("lr=1e-2.output"), std::string::npos) << row;
    else
      EXPECT_EQ(row["error"], "") << row;
  EXPECT_NE(outcome.output.find("it waits for another experiment to end"), std::string::npos)
      << outcome.output;
}

/// Returns the state letter of a process, '-' if there is none.
char state_of(pid_t process) {
  const std::string line = test::about_process(fmt::format("/proc/{}", process), "stat");
  const size_t end = line.rfind(')');
  return end == line.npos ? '-' : line[end + 2];
}

TEST_F(Searches, AreSuspendedWithTheirExperiments) {
  std::vector<std::string> words = {(fs::path(MMREC_BINARY_DIR) / "search").string()};
  for (const std::string& word : search({"--grid", "lr=1e-3"}, "1000000")) words.push_back(word);
  // in its own process group, like a shell's job
  ChildProcess process(words, directory_ / "stdout");
  const fs::path metrics = folder() / "experiments/lr=1e-3/metrics.jsonl";
  const auto wait_until = [](const auto& holds) {
    for (int i = 0; i < 3000 && !holds(); ++i) ::usleep(10'000);
    return holds();
  };
  const auto size = [&] { return fs::exists(metrics) ? fs::file_size(metrics) : 0; };
  ASSERT_TRUE(wait_until([&] { return size() > 0; }));
  const std::optional<pid_t> search_id = process_with_argument(folder().string());
  const std::optional<pid_t> experiment =
      process_with_argument("--out=" + metrics.parent_path().string());
  ASSERT_TRUE(search_id && experiment);
  process.send(SIGTSTP);
  EXPECT_TRUE(
      wait_until([&] { return state_of(*search_id) == 'T' && state_of(*experiment) == 'T'; }));
  const auto before = size();
  process.send(SIGCONT);
  EXPECT_TRUE(wait_until([&] { return size() > before; }));
  process.send(SIGTERM);
  EXPECT_EQ(process.wait(), 128 + SIGTERM);
}

TEST_F(Searches, DrawAtRandom) {
  const auto draw = [&](const char* count) {
    return search({"--range", "lr=1e-4:1e-2:log", "--grid", "seq=16,32", "--random", count});
  };
  ASSERT_EQ(run("search", draw("2")).code, 0);
  const std::vector<nlohmann::json> two = results();
  ASSERT_EQ(two.size(), 2u);
  ASSERT_EQ(run("search", draw("3")).code, 0);
  const std::vector<nlohmann::json> three = results();
  ASSERT_EQ(three.size(), 3u);
  for (size_t i = 0; i < 2; ++i) EXPECT_EQ(three[i], two[i]) << "more draws begin with the same";
  // A line cut by a crash is not a result.
  const std::string content = read_file(folder() / "results.jsonl");
  std::ofstream(folder() / "results.jsonl", std::ios::binary)
      << content.substr(0, content.size() - 20);
  ASSERT_EQ(run("search", draw("3")).code, 0);
  EXPECT_EQ(read_file(folder() / "results.jsonl"), content);
}

TEST_F(Searches, LeaveMuonsSettingsOutOfOtherExperiments) {
  const Outcome tried =
      run("search", search({"--grid", "optimizer=adamw,muon", "--grid", "muon-lr=3e-3,9e-3"}));
  ASSERT_EQ(tried.code, 0) << tried.errors;
  std::set<std::string> folders;
  for (const nlohmann::json& row : results()) {
    EXPECT_EQ(row["error"], "");
    folders.insert(row["folder"]);
  }
  EXPECT_EQ(folders, (std::set<std::string>{"optimizer=adamw", "optimizer=muon,muon-lr=3e-3",
                                            "optimizer=muon,muon-lr=9e-3"}));
  EXPECT_EQ(results().size(), 3u);

  fs::remove_all(folder());
  Arguments arguments = search({"--grid", "optimizer=adamw,muon"});
  arguments.insert(arguments.end(), {"--muon-decay", "0.2"});
  ASSERT_EQ(run("search", arguments).code, 0);
  for (const nlohmann::json& row : results()) EXPECT_EQ(row["error"], "");

  fs::remove_all(folder());
  ASSERT_EQ(
      run("search", search({"--grid", "recipe=text,documented", "--grid", "muon-lr=1e-3"})).code, 0)
      << "the optimizer may be the recipe's choice";
  for (const nlohmann::json& row : results()) EXPECT_EQ(row["error"], "");

  fs::remove_all(folder());
  ASSERT_EQ(run("search", search({"--grid", "muon-every=1,2"})).code, 0)
      << "as it is for a text where nobody says so";
  EXPECT_EQ(results().size(), 2u);
  for (const nlohmann::json& row : results()) EXPECT_EQ(row["error"], "");
}

/// The options of a search with --time in place of steps.
TEST_F(Searches, MayBeLimitedInTime) {
  const auto timed = [&](const Arguments& more) {
    Arguments arguments = search(more);
    arguments.erase(std::ranges::find(arguments, "--steps"), std::ranges::find(arguments, "--"));
    return arguments;
  };
  Arguments common = timed({"--grid", "lr=1e-3,2e-3"});
  common.insert(common.end(), {"--time", "1s"});
  const Outcome outcome = run("search", common);
  ASSERT_EQ(outcome.code, 0) << outcome.errors << outcome.output;
  ASSERT_EQ(results().size(), 2u);
  for (const nlohmann::json& row : results()) {
    EXPECT_EQ(row["error"], "");
    EXPECT_GT(row["steps"], 3) << "more than one time through the text";
  }
  EXPECT_NE(read_file(folder() / "best.toml").find("time = \"1s\""), std::string::npos);

  fs::remove_all(folder());
  const Outcome grid = run("search", timed({"--grid", "time=0.5s,1s", "--stop-early"}));
  ASSERT_EQ(grid.code, 0) << grid.errors << grid.output;
  EXPECT_GE(results().size(), 5u) << "the steps that were chosen at the start have rungs";
  for (const nlohmann::json& row : results()) EXPECT_EQ(row["error"], "");
}

TEST_F(Searches, RefuseWrongUse) {
  const auto expect_refused = [&](Arguments options,
                                  std::initializer_list<std::string_view> mentions) {
    SCOPED_TRACE(fmt::format("{}", fmt::join(options, " ")));
    expect_failed(run("search", search(std::move(options))), 2, mentions);
    EXPECT_FALSE(fs::exists(folder()));
  };
  expect_refused({}, {"nothing to try", "--grid"});
  expect_refused({"--grid", "lr"}, {"--grid lr", "name=value"});
  expect_refused({"--grid", "lrr=1"}, {"lrr", "did you mean lr?"});
  expect_refused({"--grid", "out=a,b"}, {"out", "neither an option"});
  expect_refused({"--grid", "steps=1,2"}, {"--steps 3", "among what the search tries"});
  for (const char* length : {"epochs=1,2", "time=1s,2s", "grow=tiny:2"})
    expect_refused({"--grid", length},
                   {"both say how long", "--steps", std::string_view(length).substr(0, 4)});
  expect_refused({"--range", "lr=1e-4:1e-3"}, {"--range lr", "--random"});
  expect_refused({"--grid", "muon-lr=1e-3,2e-3", "--grid", "optimizer=adamw"},
                 {"muon-lr", "no experiment has it", "--grid optimizer=adamw,muon"});
  expect_refused({"--grid", "lr=1", "--grid", "lr=2"}, {"lr is given twice"});
  expect_refused({"--grid", "lr=1", "--jobs", "0"}, {"--jobs", "0"});
  expect_refused({"--grid", "seed=1,01"}, {"--grid seed=1,01: 01 occurs twice"});
  for (const auto& [name, value] : {std::pair("--steps", "1000000000001"),
                                    {"--steps", "0x1"},
                                    {"--epochs", "2147483648"},
                                    {"--epochs", "0x1"}})
    expect_failed(run("search", {"--grid", "lr=1", "--out", folder().string(), name, value}), 2,
                  {fmt::format("{}: {} is not", name, value)});
  expect_refused({"--grid", "lr=1", "--grdi", "batch=2"},
                 {"unknown option --grdi", "did you mean --grid?"});
  expect_failed(run("search", {"--grid", "lr=1", "--out", folder().string(), "--", "bets"}), 2,
                {"unexpected argument bets"});
  // An experiment that cannot run becomes a failed row. If all fail, the search fails.
  expect_failed(run("search", {"--grid", "lr=1", "--out", folder().string(), "--", "--seq=2000"}),
                1, {"no experiment succeeded", "--seq 2000"});
  std::ofstream(directory_ / "options.toml") << "lrr = \"1\"\n";
  expect_failed(run("train", {"--options", (directory_ / "options.toml").string()}), 2,
                {"unknown option lrr", "did you mean lr?"});
  expect_failed(run("train", {"--options", (directory_ / "missing.toml").string()}), 2,
                {"missing.toml"});
}

}  // namespace
}  // namespace mmrec
