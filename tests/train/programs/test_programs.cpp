#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "runtime/cpu_info.h"
#include "runtime/kernel_registry.h"
#include "runtime/kernel_table.h"
#include "support/atomic_file.h"
#include "support/child_process.h"
#include "support/directory_lock.h"
#include "support/names.h"
#include "support/version.h"
#include "tests/common/bf16.h"
#include "tests/common/growing_state.h"
#include "tests/common/http_server.h"
#include "tests/common/process.h"
#include "tests/common/temporary_directory.h"
#include "train/data/tokenizer.h"
#include "train/run/checkpoint.h"
#include "train/run/metrics.h"

namespace mmrec {
namespace {

namespace fs = std::filesystem;
using test::TemporaryDirectory;
using Arguments = std::vector<std::string>;

struct Outcome {
  int code;  ///< or minus the signal that ended it
  std::string output, errors;
};

/// Options with their values. Setting an existing option changes it.
class Options {
 public:
  Options(std::initializer_list<std::pair<std::string, std::string>> options) {
    for (const auto& [name, value] : options) set(name, value);
  }
  Options& set(const std::string& name, const std::string& value) {
    const auto same = std::find_if(options_.begin(), options_.end(),
                                   [&](const auto& option) { return option.first == name; });
    if (same == options_.end() || name == "--set")
      options_.emplace_back(name, value);
    else
      same->second = value;
    return *this;
  }
  Arguments arguments() const {
    Arguments arguments;
    for (const auto& [name, value] : options_) arguments.insert(arguments.end(), {name, value});
    return arguments;
  }

 private:
  std::vector<std::pair<std::string, std::string>> options_;
};

class Programs : public testing::Test {
 protected:
  Programs() { std::ofstream(directory_ / "play.txt") << play(); }

  static std::string play() {
    return read_file(fs::path(MMREC_SOURCE_DIR) / "data/tiny_shakespeare/input.txt")
        .substr(0, 3000);
  }

  /// Runs one of the project's programs. `environment`: NAME=value.
  Outcome run(const std::string& program, const Arguments& arguments,
              std::vector<std::string> environment = {}, std::string_view input = "") const {
    std::vector<std::string> words = {(fs::path(MMREC_BINARY_DIR) / program).string()};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::ofstream(directory_ / "stdin", std::ios::binary) << input;
    const int code =
        test::Process(std::move(words), std::move(environment), directory_.path()).wait();
    return {code, read_file(directory_ / "stdout"), read_file(directory_ / "stderr")};
  }

  /// Runs a shell command.
  Outcome run_line(const std::string& line) const {
    const int code = test::Process({"/bin/bash", "-c", line}, {}, directory_.path()).wait();
    return {code, read_file(directory_ / "stdout"), read_file(directory_ / "stderr")};
  }

  /// Runs one of the project's programs in the test's folder.
  Outcome run_here(const std::string& line) const {
    return run_line(
        fmt::format("cd {} && {}/{}", directory_.path().string(), MMREC_BINARY_DIR, line));
  }

  fs::path out() const { return directory_ / "run"; }

  /// A run of three steps.
  Options small_run() const {
    return {{"--data", (directory_ / "play.txt").string()},
            {"--out", out().string()},
            {"--set", "dim=32"},
            {"--set", "layers=2"},
            {"--set", "heads=2"},
            {"--set", "mem_slots=64"},
            {"--vocab", "auto"},
            {"--seq", "32"},
            {"--batch", "4"},
            {"--steps", "3"},
            {"--warmup", "1"},
            {"--recipe", "documented"},
            {"--sample-tokens", "10"},
            {"--threads", "1"}};
  }
  Outcome train(const Options& options, const std::vector<std::string>& environment = {}) const {
    return run("train", options.arguments(), environment);
  }
  Outcome generate(const Options& options, std::string_view input = "") const {
    Arguments arguments = {"--threads", "1", "--tokens", "20"};
    const Arguments more = options.arguments();
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run("generate", arguments, {}, input);
  }

  TemporaryDirectory directory_;
};

/// Returns whether the system provides terminals; a container or chroot may not.
bool has_terminals() {
  const int terminal = ::posix_openpt(O_RDWR | O_NOCTTY);
  if (terminal >= 0) ::close(terminal);
  return terminal >= 0;
}

std::string command(const Options& options) {
  return fmt::format("{}", fmt::join(options.arguments(), " "));
}

void expect_failed(const Outcome& outcome, int code,
                   const std::vector<std::string_view>& mentions) {
  EXPECT_EQ(outcome.code, code) << outcome.errors;
  EXPECT_TRUE(outcome.errors.starts_with("error: ")) << outcome.errors;
  for (const std::string_view part : mentions)
    EXPECT_NE(outcome.errors.find(part), std::string::npos)
        << part << " is not in: " << outcome.errors;
}

/// Expects neither a checkpoint nor a part of one.
void expect_no_checkpoint(const fs::path& out) {
  if (!fs::exists(out)) return;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(out)) {
    const std::string name = entry.path().filename().string();
    EXPECT_TRUE(name == "config.json" || name == "metrics.jsonl" || name == "training_output.log")
        << entry.path();
  }
}

TEST_F(Programs, TrainThenGenerate) {
  const Outcome trained = train(small_run());
  ASSERT_EQ(trained.code, 0) << trained.errors;
  EXPECT_EQ(trained.errors, "");
  for (const char* part : {"step 1/3", "step 3/3", "epoch 1/1", "validation loss", "tokens/s",
                           "sample of generated text:"})
    EXPECT_NE(trained.output.find(part), std::string::npos)
        << part << " is not in: " << trained.output;
  EXPECT_EQ(trained.output, read_file(out() / "training_output.log"));
  EXPECT_EQ(trained.output.find('\x1b'), std::string::npos)
      << "colours, though the output is no terminal";

  const Outcome text =
      generate({{"--checkpoint", out().string()}, {"--prompt", "ROMEO"}, {"--seed", "1"}});
  ASSERT_EQ(text.code, 0) << text.errors;
  EXPECT_EQ(text.errors, "");
  EXPECT_TRUE(text.output.starts_with("ROMEO")) << text.output;
  EXPECT_GT(text.output.size(), std::strlen("ROMEO") + 10);

  EXPECT_EQ(
      generate({{"--checkpoint", out().string()}, {"--prompt", "ROMEO"}, {"--seed", "1"}}).output,
      text.output);
  EXPECT_EQ(
      generate(
          {{"--checkpoint", (out() / "best_model").string()}, {"--prompt", "-"}, {"--seed", "1"}},
          "ROMEO")
          .output,
      text.output);
  EXPECT_NE(
      generate({{"--checkpoint", out().string()}, {"--prompt", "ROMEO"}, {"--seed", "2"}}).output,
      text.output);
  EXPECT_EQ(run("generate", {"--checkpoint", out().string(), "--prompt", "ROMEO", "--tokens", "0"})
                .output,
            "ROMEO\n");
}

TEST_F(Programs, QuietTrainingSaysNothing) {
  Arguments arguments = small_run().arguments();
  arguments.push_back("--quiet");
  const Outcome outcome = run("train", arguments);
  EXPECT_EQ(outcome.code, 0);
  EXPECT_EQ(outcome.output + outcome.errors, "");
  EXPECT_TRUE(fs::exists(out() / "final_checkpoint"));
}

/// Runs a shell command that begins with one of the project's programs, connected to a reader that
/// exits early.
Outcome run_before_reader(const fs::path& directory, const std::string& line,
                          const std::string& reader, const std::string& before = "") {
  const std::string script =
      fmt::format("{} cd {}; {{ sleep 0.1; {}/{} 2>errors; echo $? >code; }} | {} >read", before,
                  directory.string(), MMREC_BINARY_DIR, line, reader);
  EXPECT_EQ(test::Process({"/bin/sh", "-c", script}, {}, directory).wait(), 0);
  return {std::stoi(read_file(directory / "code")), read_file(directory / "read"),
          read_file(directory / "errors")};
}

TEST_F(Programs, ClosedPipeEndsTheProgramQuietly) {
  constexpr int kBrokenPipe = 128 + SIGPIPE;
  const auto expect_quiet_end = [&](const std::string& line, const std::string& reader,
                                    const std::string& before = "") {
    const Outcome outcome = run_before_reader(directory_.path(), line, reader, before);
    EXPECT_EQ(outcome.code, kBrokenPipe) << line;
    EXPECT_EQ(outcome.errors, "") << line;
  };
  // A run saves itself and can be resumed.
  expect_quiet_end(
      "train " + command(small_run().set("--steps", "1000000").set("--save-every", "0")),
      "head -1");
  const std::string log = read_file(out() / "training_output.log");
  EXPECT_NE(log.find("stopped by SIGPIPE"), std::string::npos) << log;
  const int64_t steps =
      std::ranges::count(read_metrics(out() / "metrics.jsonl"), "train", &MetricsRow::split) + 2;
  const Outcome resumed = run("train", {"--resume", "--out", out().string(), "--steps",
                                        std::to_string(steps), "--threads", "1"});
  EXPECT_EQ(resumed.code, 0) << resumed.errors;
  EXPECT_NE(resumed.output.find(fmt::format("going on after step {} of {}", steps - 2, steps)),
            std::string::npos)
      << resumed.output;

  // default, as shells leave it; ignored, as in services
  for (const std::string before : {"", "trap '' PIPE;"}) {
    expect_quiet_end("report run", "sleep 0", before);
    expect_quiet_end("report run --json", "sleep 0", before);
    expect_quiet_end("evaluate --checkpoint run --json", "sleep 0", before);
    expect_quiet_end("generate --checkpoint run --tokens 100000 --threads 1", "head -c 1", before);
    expect_quiet_end("prepare --input-file play.txt --out data --json", "sleep 0", before);
  }
  EXPECT_EQ(run("prepare", {"--input-file", (directory_ / "play.txt").string(), "--out",
                            (directory_ / "data").string()})
                .output,
            (directory_ / "data").string() + " is up to date\n");
}

TEST_F(Programs, HelpShowsAnExample) {
  for (const char* program : {"train", "evaluate", "generate", "prepare", "probe", "report",
                              "search", "upscale", "bench"}) {
    const Outcome outcome = run(program, {"--help"});
    EXPECT_EQ(outcome.code, 0) << program;
    EXPECT_NE(outcome.output.find(std::string("Example:\n  ") + program), std::string::npos)
        << outcome.output;
  }
  const std::string help = run("train", {"--help"}).output;
  for (const char* part : {"windows a batch (default: the recipe's; documented: 2)",
                           "--batch INT  ", "--time 5m", "--epochs INT=3"})
    EXPECT_NE(help.find(part), help.npos) << part << " is not in: " << help;
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

TEST_F(Programs, NamesMayHaveAnyBytes) {
  const fs::path folder = directory_ / "caf\xe9", text = folder / "pl\xff#\\y.txt",
                 run_folder = folder / "r\xe9n";
  fs::create_directory(folder);
  fs::copy(directory_ / "play.txt", text);
  const auto good = [&](const std::string& program, const Arguments& arguments) {
    const Outcome outcome = run(program, arguments);
    EXPECT_EQ(outcome.code, 0) << program << ": " << outcome.errors;
    return outcome.output;
  };
  const auto json_of = [&](const std::string& program, const Arguments& arguments) {
    return nlohmann::json::parse(good(program, arguments));
  };
  good("train", small_run()
                    .set("--data", text.string())
                    .set("--out", run_folder.string())
                    .set("--save-every", "2")
                    .arguments());
  EXPECT_NE(good("train", {"--resume", run_folder.string(), "--steps", "5", "--threads", "1"})
                .find("going on after step 3 of 5"),
            std::string::npos);
  const std::string best = text_of_name((run_folder / "best_model").string());
  EXPECT_EQ(json_of("evaluate", {"--checkpoint", run_folder.string(), "--json"})["data"],
            text_of_name(text.string()));
  EXPECT_EQ(json_of("generate",
                    {"--checkpoint", run_folder.string(), "--tokens", "1", "--json"})["checkpoint"],
            best);
  const fs::path page = folder / "\xe9.html";
  EXPECT_EQ(
      json_of("report", {run_folder.string(), "--json", "--html", page.string()})[0]["folder"],
      text_of_name(run_folder.string()));
  EXPECT_NE(read_file(page).find("caf\\xe9/r\\xe9n"), std::string::npos);
  EXPECT_EQ(text_of_name(read_file(page)), read_file(page)) << "the page is UTF-8";
  const Arguments prepare = {"--input-file", text.string(), "--out", (folder / "d\xe9").string()};
  good("prepare", prepare);
  EXPECT_NE(good("prepare", prepare).find("up to date"), std::string::npos);
  const std::string manifest = read_file(folder / "d\xe9/manifest.json");
  EXPECT_EQ(nlohmann::json::parse(manifest)["source"], text_of_name(text.string()));
  EXPECT_EQ(
      json_of("train", {"--data", text.string(), "--vocab", "auto", "--plan", "--json"})["data"],
      text_of_name(text.string()));
}

TEST_F(Programs, CurrentFoldersNameMayHaveAnyBytes) {
  const fs::path folder = directory_ / "caf\xe9\x1b";
  fs::create_directory(folder);
  fs::copy(directory_ / "play.txt", folder / "play.txt");
  const auto here = [&](const std::string& line) {
    const Outcome outcome = run_line(
        fmt::format("cd {} && {}/{}", shell_quoted(folder.string()), MMREC_BINARY_DIR, line));
    EXPECT_EQ(outcome.code, 0) << line << ": " << outcome.errors;
    return outcome.output;
  };
  here("train " + command(small_run().set("--data", "play.txt").set("--out", "run")));
  here("train --resume --out run --steps 4 --threads 1");
  here("report run --json");
  here("prepare --input-file play.txt --out data");
  const std::string search =
      "search --data play.txt --steps 2 --threads 1 --out search --grid lr=1e-3,2e-3";
  const std::string rest = " -- --vocab auto --set dim=32 --seq 32";
  here(search + rest);
  const std::string again = here(search + ",3e-3" + rest);
  EXPECT_NE(again.find("going on after 2 results"), std::string::npos) << again;
  EXPECT_EQ(again.find('\x1b'), std::string::npos) << again;
  here("train --options search/best.toml --out best --threads 1");
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

TEST_F(Programs, NamesAndTextsHaveNoEffectOnATerminal) {
  const std::string name = "\x1b[2J\u009b31m\xe9\r.txt";
  std::string text;
  for (const char c : play()) text += c == ' ' ? "\x1b[31m" : std::string(1, c);
  std::ofstream(directory_ / name) << text;
  const auto expect_plain = [](const Outcome& outcome) {
    for (const std::string& printed : {outcome.output, outcome.errors}) {
      EXPECT_EQ(printed.find_first_of("\x1b\r"), printed.npos) << printed;
      EXPECT_EQ(printed.find("\u009b"), printed.npos) << printed;
      EXPECT_EQ(text_of_name(printed), printed);
    }
  };
  const Outcome trained =
      train(small_run().set("--data", (directory_ / name).string()).set("--sample-tokens", "200"));
  EXPECT_EQ(trained.code, 0) << trained.errors;
  EXPECT_NE(trained.output.find("\\x1b[2J\\u009b31m\\xe9\\x0d.txt"), std::string::npos)
      << trained.output;
  expect_plain(trained);
  EXPECT_EQ(read_file(out() / "training_output.log"), trained.output);
  const std::string missing = (directory_ / ("missing" + name)).string();
  for (const auto& [program, arguments] :
       {std::pair<const char*, Arguments>("train", {"--data", missing}),
        {"evaluate", {"--checkpoint", missing}},
        {"generate", {"--checkpoint", missing}},
        {"report", {missing}},
        {"prepare", {"--input-dir", missing, "--out", (directory_ / "data").string()}}}) {
    const Outcome outcome = run(program, arguments);
    EXPECT_NE(outcome.code, 0) << program;
    expect_plain(outcome);
  }
  expect_plain(run("train", {"--\x1b[31m"}));
  expect_plain(run("train", {"--batch", "\x1b[31m"}));
  const fs::path run_folder = directory_ / ("run" + name);
  fs::rename(out(), run_folder);
  expect_plain(run("report", {run_folder.string()}));
  expect_plain(run("report", {run_folder.string(), (directory_ / ("no" + name)).string()}));

  // generate writes the text as it is; only on a terminal it is made visible.
  if (!has_terminals()) GTEST_SKIP() << "the system gives no terminals";
  const std::string line =
      fmt::format("{}/generate --checkpoint {} --prompt {} --tokens 2 --threads 1",
                  MMREC_BINARY_DIR, shell_quoted(run_folder.string()), shell_quoted("\x1b[31m"));
  EXPECT_EQ(run_line(line).output.substr(0, 5), "\x1b[31m");
  const Outcome on_terminal =
      run_line(fmt::format("SHELL=/bin/bash script -qec {} /dev/null", shell_quoted(line)));
  EXPECT_EQ(on_terminal.output.substr(0, 8), "\\x1b[31m")
      << on_terminal.output << on_terminal.errors;
  EXPECT_EQ(on_terminal.output.find('\x1b'), std::string::npos) << on_terminal.output;
}

TEST_F(Programs, GeneratedEndsOfLinesAreNotShown) {
  if (!has_terminals()) GTEST_SKIP() << "the system gives no terminals";
  std::string text;
  for (int i = 0; i < 1000; ++i) text += "ab\r\n";
  std::ofstream(directory_ / "play.txt") << text;
  ASSERT_EQ(train(small_run().set("--steps", "60").set("--lr", "1e-2")).code, 0);
  const auto on_terminal = [&](const std::string& prompt, int tokens) {
    const std::string line =
        fmt::format("{}/generate --checkpoint {} --prompt {} --tokens {} --greedy --threads 1",
                    MMREC_BINARY_DIR, shell_quoted(out().string()), shell_quoted(prompt), tokens);
    return run_line(fmt::format("SHELL=/bin/bash script -qec {} /dev/null", shell_quoted(line)))
        .output;
  };
  // The terminal itself turns \n into \r\n.
  EXPECT_EQ(on_terminal("a", 8), "ab\r\r\nab\r\r\na\r\n");
  EXPECT_EQ(on_terminal("ab\r\na", 2), "ab\r\r\nab\r\r\n")
      << "the last end of line is the program's";
  EXPECT_EQ(on_terminal("ab\r", 0), "ab\r\r\n");
  EXPECT_TRUE(on_terminal("ab\rb", 1).starts_with("ab\\x0db"));
}

// SentencePiece may take longer for a text than a short run.
TEST_F(Programs, ATerminalShowsWhatTrainDoesBeforeItsFirstLine) {
  if (!has_terminals()) GTEST_SKIP() << "the system gives no terminals";
  const std::string line = fmt::format("{}/train {}", MMREC_BINARY_DIR, command(small_run()));
  const std::string output =
      run_line(fmt::format("SHELL=/bin/bash script -qec {} /dev/null", shell_quoted(line))).output;
  EXPECT_NE(output.find("reading " + (directory_ / "play.txt").string()), std::string::npos)
      << output;
}

TEST_F(Programs, NoLibraryMessageReachesTheUser) {
  const std::string loop = (directory_ / "loop").string(), folder = directory_.path().string();
  fs::create_symlink(loop, loop);
  std::ofstream(directory_ / "large.json") << "{\"dim\": 1e400}";
  std::ofstream(directory_ / "latin1.json") << "{\"dim\": \"\xe9\"}";
  fs::create_directories(directory_ / "search");
  const auto expect_own_words = [&](const std::string& program, const Arguments& arguments,
                                    int code, const std::vector<std::string_view>& mentions) {
    const Outcome outcome = run(program, arguments);
    SCOPED_TRACE(fmt::format("{} {}", program, fmt::join(arguments, " ")));
    expect_failed(outcome, code, mentions);
    for (const char* words : {"[json", "exception", "filesystem error", "Could not convert",
                              "missing?", "parse error", "std::", " required", "allowed"})
      EXPECT_EQ(outcome.errors.find(words), std::string::npos) << outcome.errors;
  };
  expect_own_words("train", {"--options", folder}, 2,
                   {"--options: cannot read " + folder, "Is a directory"});
  expect_own_words("train", {"--options", folder + "/none"}, 2,
                   {"--options: cannot read", "none: No such file"});
  expect_own_words("train", {"--quiet=loud"}, 2, {"--quiet takes no value, but loud is given"});
  for (const auto& [line, words] :
       {std::pair("options = \"x\"", "option options is for the command line alone"),
        {"help = true", "option help is for the command line alone"},
        {"data = []", "option data in the file of --options has 0 values; give it one"},
        {"quiet = [\"true\", \"false\"]",
         "option quiet in the file of --options has 2 values; give it one"},
        {"steps = 0x10", "--steps: 0x10 is not a whole number from 1"},
        {"seed = 18446744073709551616",
         "--seed: 18446744073709551616 is not a whole number from 0"},
        {"quiet = \"loud\"", "--quiet takes no value, but loud is given"}}) {
    std::ofstream(directory_ / "options.toml") << line << "\n";
    expect_own_words("train", {"--options", folder + "/options.toml"}, 2, {words});
  }
  expect_own_words("train", {"--options"}, 2, {"--options is given without a value"});
  expect_own_words("generate", {"--samples"}, 2, {"--samples is given without a value"});
  expect_own_words("prepare", {"--input-file", loop, "--out", folder + "/data", "--format", "xyz"},
                   2, {"--format: xyz is not one of: text, jsonl"});
  expect_own_words("train", {"--config", folder}, 1, {"cannot read " + folder, "Is a directory"});
  expect_own_words("train", {"--config", loop}, 2, {"--config", "neither a preset"});
  expect_own_words("train", {"--config", folder + "/large.json"}, 1,
                   {"large.json: not valid JSON", "larger than a double"});
  expect_own_words("train", {"--config", folder + "/latin1.json"}, 1,
                   {"latin1.json: not valid JSON at line 1"});
  for (const char* program : {"evaluate", "generate"})
    expect_own_words(program, {"--checkpoint", loop}, 1, {loop});
  expect_own_words("report", {loop}, 1, {loop, "Too many levels of symbolic links"});
  expect_own_words("train", {"--data", loop}, 1, {loop});
  expect_own_words("search", {"--grid", "lr=1,2", "--out", loop}, 1, {loop});
  expect_own_words("prepare", {"--input-file", loop, "--out", folder + "/data"}, 1, {loop});

  for (const char* row : {"{}", "[]", R"({"step": 1})", "{", R"({"split": 1})"}) {
    std::ofstream(directory_ / "metrics.jsonl") << row << "\n";
    expect_own_words("report", {folder}, 1, {"metrics.jsonl: line 1"});
  }
  for (const char* row : {"{}", "[]", "{", R"({"settings": 1, "folder": "", "error": ""})",
                          R"({"settings": {"lr": 1}, "folder": "", "error": ""})"}) {
    std::ofstream(directory_ / "search/results.jsonl") << row << "\n";
    expect_own_words("search",
                     {"--grid", "lr=1,2", "--data", folder + "/play.txt", "--out",
                      folder + "/search", "--", "--vocab", "auto"},
                     1, {"results.jsonl: line 1"});
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

TEST_F(Programs, RefuseAnUnknownExecutor) {
  ::setenv("MMREC_EXECUTOR", "tbb", 1);
  const Outcome outcome = run("bench", {"--list"});
  ::unsetenv("MMREC_EXECUTOR");
  expect_failed(outcome, 2, {"MMREC_EXECUTOR", "'tbb'", "pool"});
}

// Of a build for several targets each is chosen where MMREC_MAX_ISA permits no better one.
TEST_F(Programs, TakeTheBestKernelsThatAreAllowed) {
  const auto target_with = [&](const std::string& largest) {
    const Outcome outcome = train(small_run(), {"MMREC_MAX_ISA=" + largest});
    EXPECT_EQ(outcome.code, 0) << outcome.errors;
    fs::remove_all(out());
    const std::string& line = outcome.output;
    const size_t begin = line.find("kernels for ") + 12;
    return line.substr(begin, line.find(',', begin) - begin);
  };
  EXPECT_EQ(target_with(""), kernel_target());
  for (const KernelTable& table : kernel_tables())
    if (missing_features(table.target).empty()) {
      EXPECT_EQ(target_with(table.isa), table.target);
    }
  expect_failed(train(small_run(), {"MMREC_MAX_ISA=avx9"}), 2,
                {"MMREC_MAX_ISA=avx9", "avx512, avx2", "sse41"});
  // no table of the build is for so little
  expect_failed(train(small_run(), {"MMREC_MAX_ISA=neon"}), 2,
                {"MMREC_MAX_ISA=neon", kernel_tables().back().target, "permit one of these"});
}

TEST_F(Programs, ComputeInFloat32WhereBf16IsExcluded) {
  const std::vector<std::string> excluded = {"MMREC_MAX_ISA=avx512"};
  const std::string line =
      "--precision bf16: computing in float32, as this process has no kernels for it: "
      "MMREC_MAX_ISA=avx512 excludes them\n";
  ASSERT_EQ(train(small_run(), excluded).code, 0);
  const std::string weights = read_file(out() / "final_checkpoint/model.safetensors");
  fs::remove_all(out());
  const Outcome trained = train(small_run().set("--precision", "bf16"), excluded);
  ASSERT_EQ(trained.code, 0) << trained.errors;
  EXPECT_TRUE(trained.output.starts_with(line)) << trained.output;
  EXPECT_NE(trained.output.find(" tokens in float32\n"), std::string::npos) << trained.output;
  EXPECT_TRUE(read_file(out() / "final_checkpoint/model.safetensors") == weights);

  const Arguments with_bf16 = {"--checkpoint", out().string(), "--precision", "bf16", "--json"};
  for (const char* program : {"evaluate", "generate"}) {
    const Outcome outcome = run(program, with_bf16, excluded);
    EXPECT_EQ(outcome.errors, "warning: " + line) << program;
    EXPECT_EQ(nlohmann::json::parse(outcome.output)["precision"], "float32") << program;
    expect_failed(run(program, {"--checkpoint", out().string(), "--precision", "f32"}), 2,
                  {"--precision", "f32 is not one of: float32, bf16, int8"});
  }
  Arguments compared = with_bf16;
  compared.insert(compared.end(), {"--against", "bf16"});
  EXPECT_EQ(run("evaluate", compared, excluded).errors, "warning: " + line);  // once
  compared.back() = "float32";
  compared.emplace_back("--quiet");
  expect_failed(run("evaluate", compared, excluded), 2, {"--against", "float32", "be the same"});

  Arguments plan = small_run().set("--precision", "bf16").arguments();
  plan.insert(plan.end(), {"--plan", "--json"});
  const nlohmann::json planned = nlohmann::json::parse(run("train", plan, excluded).output);
  EXPECT_EQ(planned["precision"], "float32");
  EXPECT_EQ(planned["data_summary"].back().get<std::string>() + "\n", line);
}

TEST_F(Programs, ComputeInBf16) {
  MMREC_NEEDS_BF16();
  ASSERT_EQ(train(small_run().set("--precision", "bf16")).code, 0);
  const double loss = read_metrics(out() / "metrics.jsonl").back().loss;
  const auto outcome_of = [&](const char* program, Arguments more) {
    more.insert(more.end(), {"--checkpoint", out().string(), "--threads", "1"});
    const Outcome outcome = run(program, more);
    EXPECT_EQ(outcome.code, 0) << outcome.errors;
    return outcome;
  };
  EXPECT_EQ(nlohmann::json::parse(
                outcome_of("evaluate", {"--precision", "bf16", "--json"}).output)["loss"],
            loss);
  EXPECT_NE(nlohmann::json::parse(outcome_of("evaluate", {"--json"}).output)["loss"], loss);
  const std::string text = outcome_of("evaluate", {}).output;
  EXPECT_NE(text.find("precision           float32 (the run: bf16)\n"), std::string::npos) << text;
  EXPECT_EQ(outcome_of("generate", {"--precision", "bf16"}).errors, "computing in bf16\n");
  EXPECT_EQ(outcome_of("generate", {"--precision", "bf16", "--quiet"}).errors, "");
  EXPECT_EQ(nlohmann::json::parse(
                outcome_of("generate", {"--precision", "bf16", "--json"}).output)["precision"],
            "bf16");
  EXPECT_EQ(nlohmann::json::parse(run("report", {out().string(), "--json"}).output)[0]["precision"],
            "bf16");
}

TEST_F(Programs, UseAModelInInt8) {
  ASSERT_EQ(train(small_run()).code, 0);
  const auto outcome_of = [&](const char* program, Arguments more) {
    more.insert(more.end(), {"--checkpoint", out().string(), "--threads", "1"});
    const Outcome outcome = run(program, more);
    EXPECT_EQ(outcome.code, 0) << outcome.errors;
    return outcome;
  };
  const auto figures = [&](Arguments more) {
    more.emplace_back("--json");
    return nlohmann::json::parse(outcome_of("evaluate", more).output);
  };
  const nlohmann::json plain = figures({}),
                       narrow = figures({"--precision", "int8", "--against", "float32"});
  EXPECT_FALSE(plain.contains("against"));
  EXPECT_EQ(narrow["precision"], "int8");
  EXPECT_EQ(narrow["against"], "float32");
  EXPECT_NE(narrow["loss"], plain["loss"]);
  EXPECT_NEAR(narrow["loss"].get<double>(), plain["loss"].get<double>(), 0.05);
  EXPECT_GT(narrow["divergence"], 0);
  EXPECT_LT(narrow["divergence"], 0.05);
  EXPECT_GT(narrow["agreement"], 0.8);
  const nlohmann::json same = figures({"--against", "float32", "--stream"});
  EXPECT_EQ(same["divergence"], 0);
  EXPECT_EQ(same["agreement"], 1);
  const std::string text = outcome_of("evaluate", {"--against", "int8"}).output;
  EXPECT_NE(text.find(" nats a token, from the predictions in int8\n"), std::string::npos) << text;
  EXPECT_NE(text.find("agreement           "), std::string::npos) << text;
  expect_failed(run("evaluate", {"--checkpoint", out().string(), "--against", "int4"}), 2,
                {"--against", "float32, bf16, int8"});
  expect_failed(
      run("evaluate", {"--checkpoint", out().string(), "--against", "int8", "--texts", "2"}), 2,
      {"--against", "--texts"});

  EXPECT_EQ(outcome_of("generate", {"--precision", "int8"}).errors, "computing in int8\n");
  const auto generated = [&](const std::string& threads) {
    return nlohmann::json::parse(
        run("generate", {"--checkpoint", out().string(), "--precision", "int8", "--json",
                         "--tokens", "30", "--threads", threads})
            .output)["texts"];
  };
  EXPECT_EQ(generated("1"), generated("2"));
  expect_failed(train(small_run().set("--precision", "int8")), 2,
                {"--precision int8", "float32 or bf16", "generate"});
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

/// Installed programs go by names of their own, also in what they say.
TEST_F(Programs, InstalledNames) {
  const fs::path installed = directory_ / "mmrec-train";
  fs::create_symlink(fs::path(MMREC_BINARY_DIR) / "train", installed);
  const auto say = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), installed.string());
    test::Process process(arguments, {}, directory_.path());
    EXPECT_EQ(process.wait(), 0) << read_file(directory_ / "stderr");
    return read_file(directory_ / "stdout");
  };
  EXPECT_EQ(say({"--version"}), "mmrec-train " MMREC_VERSION "\n");
  const std::string help = say({"--help"});
  EXPECT_NE(help.find("Usage: mmrec-train "), std::string::npos) << help;
  EXPECT_NE(help.find("\n  mmrec-train --data book.txt --time"), std::string::npos) << help;
  EXPECT_NE(say({"--steps", "1", "--batch", "1", "--seq", "8", "--out", out().string()})
                .find("mmrec-generate --checkpoint"),
            std::string::npos);
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

TEST_F(Programs, EvaluateReproducesTheValidation) {
  const Outcome trained = train(small_run());
  ASSERT_EQ(trained.code, 0) << trained.errors;
  const std::vector<MetricsRow> rows = read_metrics(out() / "metrics.jsonl");
  ASSERT_EQ(rows.back().split, "val");
  const Arguments arguments = {"--checkpoint", out().string(),
                               "--data",       (directory_ / "play.txt").string(),
                               "--threads",    "1"};
  const auto evaluate = [&](std::initializer_list<std::string> more) {
    Arguments all = arguments;
    all.insert(all.end(), more);
    return run("evaluate", all);
  };
  const auto figures = [&](std::initializer_list<std::string> more) {
    Arguments all = arguments;
    all.insert(all.end(), more);
    all.push_back("--json");
    const Outcome outcome = run("evaluate", all);
    EXPECT_EQ(outcome.code, 0) << outcome.errors;
    EXPECT_EQ(outcome.errors, "");
    return nlohmann::json::parse(outcome.output);
  };
  const nlohmann::json validation = figures({});
  EXPECT_EQ(validation["loss"], rows.back().loss);
  EXPECT_EQ(validation["accuracy"], rows.back().accuracy);
  EXPECT_DOUBLE_EQ(validation["perplexity"], std::exp(rows.back().loss));
  EXPECT_DOUBLE_EQ(validation["bits_per_character"], rows.back().loss / std::log(2));
  EXPECT_DOUBLE_EQ(validation["bits_per_byte"], rows.back().loss / std::log(2)) << "ASCII";
  EXPECT_DOUBLE_EQ(rows.back().bits_per_byte, rows.back().loss / std::log(2));
  EXPECT_EQ(validation["step"], 3);
  EXPECT_GT(validation["tokens_per_second"], 0);

  const nlohmann::json stream = figures({"--stream"});
  EXPECT_EQ(stream["positions"].get<int>() + 1, stream["characters"].get<int>());
  EXPECT_NE(stream["loss"], validation["loss"]);
  const int in_all = figures({"--part", "all"})["characters"];
  EXPECT_EQ(in_all, 3000);
  const Outcome whole = evaluate({"--part", "all"});
  EXPECT_NE(whole.output.find("split: none, the text is taken as a whole"), std::string::npos)
      << whole.output;
  EXPECT_EQ(
      figures({"--part", "train"})["characters"].get<int>() + validation["characters"].get<int>(),
      in_all);

  // Without --data: the text the model was trained on.
  EXPECT_EQ(nlohmann::json::parse(
                run("evaluate", {"--checkpoint", out().string(), "--json"}).output)["loss"],
            validation["loss"]);

  const Outcome table = evaluate({"--seq", "64"});
  EXPECT_LT(table.output.find("1 thread; kernels for"), table.output.find("best_model (step 3)"))
      << table.output;
  for (const char* part :
       {"best_model (step 3)", "validation part", "windows of 64", "loss ", "perplexity ",
        "accuracy ", "bits per character ", "bits per byte ", "tokens/s"})
    EXPECT_NE(table.output.find(part), std::string::npos) << part << " is not in: " << table.output;

  // Windows are as in the validations of the training. A text that has changed since is reported.
  ASSERT_EQ(
      train(small_run().set("--val-seq", "64").set("--out", (directory_ / "other").string())).code,
      0);
  const Arguments other = {"--checkpoint", (directory_ / "other").string(), "--json"};
  const Outcome windows = run("evaluate", other);
  EXPECT_EQ(windows.errors, "");
  EXPECT_EQ(nlohmann::json::parse(windows.output)["window"], 64);
  EXPECT_EQ(nlohmann::json::parse(windows.output)["loss"],
            read_metrics(directory_ / "other/metrics.jsonl").back().loss);
  std::ofstream(directory_ / "play.txt") << play().substr(10);
  EXPECT_NE(
      run("evaluate", other).errors.find("play.txt has changed since the model was trained on it"),
      std::string::npos);
  std::ofstream(directory_ / "play.txt") << "\uFEFF" << play().substr(10);
  EXPECT_NE(run("evaluate", other)
                .errors.find(
                    "then (if the data are as they were: earlier versions kept a byte order mark"),
            std::string::npos);
  std::ofstream(directory_ / "play.txt") << play();

  expect_failed(evaluate({"--part", "al"}), 2, {"--part", "al"});
  expect_failed(evaluate({"--val-split", "0"}), 2, {"--part validation", "not two tokens"});
  expect_failed(run("evaluate", {"--checkpoint", out().string(), "--data", "missing.txt"}), 1,
                {"missing.txt", "No such file"});
  expect_failed(run("evaluate", {"--checkpoint", "missing", "--data", "sample"}), 1,
                {"missing", "no such folder"});
}

TEST_F(Programs, EvaluateMeasuresTexts) {
  ASSERT_EQ(train(small_run().set("--val-split", "0.5")).code, 0);
  const auto evaluate = [&](Arguments more) {
    more.insert(more.end(), {"--checkpoint", out().string(), "--threads", "1"});
    return run("evaluate", more);
  };
  const auto figures = [&](Arguments more) {
    more.push_back("--json");
    const Outcome outcome = evaluate(more);
    EXPECT_EQ(outcome.code, 0) << outcome.errors;
    return nlohmann::json::parse(outcome.output);
  };
  const nlohmann::json json =
      figures({"--texts", "3", "--tokens", "200", "--temperature", "0.5", "--seed", "7"});
  EXPECT_EQ(json["texts"], 3);
  EXPECT_EQ(json["tokens"], 200);
  EXPECT_EQ(json["temperature"], 0.5);
  EXPECT_EQ(json["seed"], 7);
  // The texts are those of generate, and the longest copied piece is where it is said to be.
  const Outcome written =
      run("generate", {"--checkpoint", out().string(), "--threads", "1", "--samples", "3",
                       "--tokens", "200", "--temperature", "0.5", "--seed", "7", "--json"});
  const auto texts = nlohmann::json::parse(written.output)["texts"];
  const auto& copied = json["model"]["copied"];
  const std::string piece = copied["piece"];
  EXPECT_NE(texts[copied["text"].get<size_t>() - 1].get<std::string>().find(piece),
            std::string::npos);
  EXPECT_EQ(copied["longest"], piece.size());
  EXPECT_GE(copied["longest"], copied["mean"]);
  EXPECT_EQ(play().substr(copied["place"], piece.size()), piece);
  const std::string before = play().substr(0, copied["place"]);
  EXPECT_EQ(copied["line"].get<int64_t>() - 1, std::ranges::count(before, '\n'));
  for (const char* name : {"model", "validation"}) {
    ASSERT_EQ(json[name]["distinct"].size(), 4u);
    ASSERT_EQ(json[name]["rep"].size(), 4u);
  }
  // A play does not repeat itself as a model of three steps does.
  EXPECT_GT(json["validation"]["distinct"][3], 0.9);
  EXPECT_GT(json["validation"]["words"], 80);

  // On the text it was trained on, the passages of a memorised text are all copied.
  std::ofstream(directory_ / "twice.txt") << play() << '\n' << play() << '\n';
  const nlohmann::json twice = figures({"--texts", "2", "--tokens", "100", "--data",
                                        (directory_ / "twice.txt").string(), "--val-split", "0.5"});
  EXPECT_EQ(twice["validation"]["copied"]["mean"], 100);
  const std::string other = (directory_ / "twice.txt").string();
  const Outcome of_other = evaluate({"--texts", "2", "--tokens", "100", "--data", other});
  EXPECT_NE(of_other.output.find(" of the training part of " + other + ": \""), std::string::npos)
      << of_other.output;

  const Outcome table = evaluate({"--texts", "2"});
  ASSERT_EQ(table.code, 0) << table.errors;
  for (const char* said : {"2 texts of 500 characters", "validation text", "distinct-1 ", "rep-4 ",
                           "longest copied piece", "copied in text ", " of the training text: \""})
    EXPECT_NE(table.output.find(said), std::string::npos) << said << "\n" << table.output;

  const Outcome too_long = evaluate({"--texts", "4"});
  EXPECT_EQ(too_long.code, 0);
  EXPECT_NE(too_long.errors.find("too few for 4 passages of 500"), std::string::npos)
      << too_long.errors;
  EXPECT_EQ(too_long.output.find("validation text"), std::string::npos);
  EXPECT_TRUE(figures({"--texts", "4", "--quiet"})["validation"].is_null());
  const nlohmann::json short_texts = figures({"--texts", "2", "--tokens", "1"});
  EXPECT_TRUE(short_texts["model"]["distinct"][3].is_null());
  EXPECT_LE(short_texts["model"]["copied"]["longest"], 1);
  EXPECT_EQ(figures({"--texts", "1", "--greedy"})["greedy"], true);

  expect_failed(evaluate({"--texts", "0"}), 2, {"--texts: 0 is not a whole number from 1"});
  expect_failed(evaluate({"--texts", "2", "--greedy"}), 2, {"--texts 2", "all the same"});
  expect_failed(evaluate({"--texts", "2", "--stream"}), 2, {"--texts", "--stream", "together"});
  expect_failed(evaluate({"--texts", "2", "--part", "all"}), 2, {"--texts", "--part"});
  expect_failed(evaluate({"--top-p", "0.5"}), 2, {"--top-p is for --texts"});
}

TEST_F(Programs, StateOverflowBeyondTrainingWindowsIsReported) {
  ASSERT_EQ(train(small_run()
                      .set("--seq", "64")
                      .set("--batch", "2")
                      .set("--val-seq", "1000")
                      .set("--val-split", "0.4"))
                .code,
            0);
  const fs::path grown = directory_ / "grown";
  {
    const Checkpoint checkpoint(out());
    Parameters parameters(checkpoint.config);
    checkpoint.read_weights(parameters);
    test::let_state_grow(checkpoint.config, parameters);
    save_checkpoint(grown, checkpoint.config, checkpoint.tokenizer, parameters, checkpoint.state);
  }
  const auto evaluate = [&](Arguments more) {
    more.insert(more.end(), {"--checkpoint", grown.string(), "--threads", "1"});
    return run("evaluate", more);
  };
  expect_failed(evaluate({}), 1,
                {"the state left a float's range after", "the training's windows have 64",
                 "measure with --seq 64"});
  expect_failed(evaluate({"--stream"}), 1,
                {"the state left a float's range after", "without --stream and with --seq 64"});
  EXPECT_EQ(evaluate({"--seq", "64"}).code, 0);
  const Outcome text =
      run("generate", {"--checkpoint", grown.string(), "--tokens", "1000", "--threads", "1"});
  EXPECT_EQ(text.code, 1);
  EXPECT_NE(text.errors.find("error: the state left a float's range after"), std::string::npos)
      << text.errors;
  EXPECT_GT(text.output.size(), 64u) << "what it had written";
  EXPECT_EQ(text.output.back(), '\n') << "the error has a line of its own";
  const Outcome samples = run("generate", {"--checkpoint", grown.string(), "--tokens", "1000",
                                           "--threads", "1", "--samples", "2"});
  EXPECT_EQ(samples.code, 1);
  const size_t second = samples.output.find("--- sample 2 of 2 ---");
  ASSERT_NE(second, std::string::npos) << samples.output;
  EXPECT_GT(samples.output.size() - second, 64u) << "what it had written";
}

TEST_F(Programs, GenerateSamples) {
  ASSERT_EQ(train(small_run()).code, 0);
  const Options options = {
      {"--checkpoint", out().string()}, {"--prompt", "ROMEO"}, {"--seed", "1"}};
  const auto with = [&](const std::string& name, const std::string& value) {
    return generate(Options(options).set(name, value));
  };
  const std::string text = generate(options).output;
  const Outcome three = with("--samples", "3");
  ASSERT_EQ(three.code, 0) << three.errors;
  EXPECT_TRUE(
      three.output.starts_with("--- sample 1 of 3 ---\n" + text + "\n--- sample 2 of 3 ---\nROMEO"))
      << three.output;

  EXPECT_EQ(with("--top-k", "1").output, with("--temperature", "0").output);
  EXPECT_EQ(with("--top-p", "1e-9").output, with("--temperature", "0").output);
  EXPECT_NE(with("--repetition-penalty", "1e9").output, text);

  Arguments arguments = Options(options)
                            .set("--samples", "2")
                            .set("--tokens", "20")
                            .set("--threads", "1")
                            .arguments();
  arguments.push_back("--json");
  const Outcome outcome = run("generate", arguments);
  ASSERT_EQ(outcome.code, 0) << outcome.errors;
  const nlohmann::json json = nlohmann::json::parse(outcome.output);
  ASSERT_EQ(json["texts"].size(), 2u);
  EXPECT_EQ("ROMEO" + json["texts"][0].get<std::string>() + "\n", text);
  EXPECT_EQ(json["prompt"], "ROMEO");
  EXPECT_EQ(json["tokens"], 20);
}

TEST_F(Programs, GenerateStops) {
  ASSERT_EQ(train(small_run()).code, 0);
  const Options options = {{"--checkpoint", out().string()}, {"--prompt", "ROMEO"}};
  const std::string whole = generate(options).output;  // with the prompt and a newline
  const std::string made = whole.substr(5, whole.size() - 6);
  const std::string stop = made.substr(7, 2);
  const Outcome stopped = generate(Options(options).set("--stop", stop));
  ASSERT_EQ(stopped.code, 0) << stopped.errors;
  EXPECT_EQ(stopped.output, "ROMEO" + made.substr(0, made.find(stop)) + "\n");
  expect_failed(generate(Options(options).set("--stop", "")), 2, {"--stop"});

  Arguments escaped = Options(options).set("--prompt", R"(A\tB\n\\)").arguments();
  escaped.insert(escaped.end(), {"--escapes", "--tokens", "0", "--quiet"});
  EXPECT_EQ(run("generate", escaped).output, "A\tB\n\\\n");
  escaped.insert(escaped.end(), {"--stop", R"(\x)"});
  expect_failed(run("generate", escaped), 2, {"--escapes", "'x'"});
}

TEST_F(Programs, GenerateConverses) {
  ASSERT_EQ(train(small_run()).code, 0);
  const auto converse = [&](const Arguments& more, const std::string& input) {
    Arguments arguments = {
        "--checkpoint", out().string(), "--interactive", "--tokens", "20", "--threads", "1"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run("generate", arguments, {}, input);
  };
  const Outcome both = converse({}, "ROMEO\nJULIET\n");
  ASSERT_EQ(both.code, 0) << both.errors;
  const std::string state = (directory_ / "state").string();
  const Outcome first = converse({"--state", state}, "ROMEO\n"),
                second = converse({"--state", state}, "JULIET\n");
  EXPECT_EQ(second.code, 0) << second.errors;
  EXPECT_EQ(first.output + second.output, both.output) << "the state is saved between the turns";
  EXPECT_EQ(converse({}, "").output, "");
  const Outcome odd = converse({}, "ROMEO\n\xff\nJULIET\n");
  EXPECT_EQ(odd.code, 0) << "a line that cannot be read ends nothing";
  EXPECT_EQ(odd.output, both.output);
  EXPECT_NE(odd.errors.find("0xff"), std::string::npos) << odd.errors;
  expect_failed(converse({"--state", (directory_ / "none/state").string()}, "ROMEO\n"), 1,
                {"none"});

  // Twice ten tokens are as good as twenty.
  const std::string half = (directory_ / "half").string();
  const auto greedy = [&](Arguments more) {
    Arguments arguments = {"--checkpoint", out().string(), "--threads", "1", "--greedy"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run("generate", arguments).output;
  };
  std::string halves = greedy({"--prompt", "ROMEO", "--tokens", "10", "--state", half});
  halves.pop_back();
  halves += greedy({"--tokens", "10", "--state", half});
  EXPECT_EQ(halves, greedy({"--prompt", "ROMEO", "--tokens", "20"}));

  expect_failed(converse({"--prompt", "a"}, ""), 2, {"--interactive", "--prompt"});
  expect_failed(converse({"--samples", "2"}, ""), 2, {"--samples 2", "--interactive"});
  ASSERT_EQ(
      train(small_run().set("--out", (directory_ / "other").string()).set("--seed", "7")).code, 0);
  expect_failed(generate({{"--checkpoint", (directory_ / "other").string()}, {"--state", state}}),
                1, {state, "other weights"});
}

TEST_F(Programs, GenerateReportsUnknownCharacters) {
  ASSERT_EQ(train(small_run()).code, 0);
  const Options options = {{"--checkpoint", out().string()}, {"--prompt", "Rosé, René…\x01 "}};
  const Outcome outcome = generate(options);
  EXPECT_EQ(outcome.code, 0);
  EXPECT_EQ(outcome.errors,
            "warning: --prompt: 4 of 13 characters (30.77 %) have no token and are read as <UNK>: "
            "3 different ones, é U+00E9 (2), U+0001 (1), "
            "… U+2026 (1)\n");
  EXPECT_TRUE(outcome.output.starts_with("Rosé, René…\x01 ")) << outcome.output;
  Arguments quiet = options.arguments();
  quiet.push_back("--quiet");
  EXPECT_EQ(run("generate", quiet).errors, "");

  Options escaped = {{"--checkpoint", out().string()}, {"--prompt", R"(ROMEO:\n)"}};
  const std::string hint = "; --escapes reads \\n as a newline";
  EXPECT_TRUE(generate(escaped).errors.ends_with(hint + "\n")) << generate(escaped).errors;
  EXPECT_EQ(generate(escaped.set("--prompt", R"(ROMEO\)")).errors.find(hint), std::string::npos);
}

TEST_F(Programs, GenerateTakesTheNewestRun) {
  for (const char* name : {"one", "two"})
    ASSERT_EQ(train(small_run().set("--out", (directory_ / "checkpoints" / name).string())).code,
              0);
  fs::create_directory(directory_ / "checkpoints/begun");
  std::ofstream(directory_ / "checkpoints/begun/metrics.jsonl") << "";
  const auto newest = [&](const char* name) {
    const Outcome outcome = run_here("generate --threads 1 --tokens 20");
    EXPECT_EQ(outcome.code, 0) << outcome.errors;
    EXPECT_EQ(outcome.errors, fmt::format("--checkpoint checkpoints/{}: the run in checkpoints/ "
                                          "that trained last\n",
                                          name));
  };
  newest("two");
  ASSERT_EQ(run_here("train --resume checkpoints/one --steps 4").code, 0);
  newest("one");
}

TEST_F(Programs, GenerateNeverCutsACharacter) {
  std::string text;
  for (int i = 0; i < 200; ++i) text += "ä€😀 日\n";
  std::ofstream(directory_ / "play.txt") << text;
  ASSERT_EQ(train(small_run()).code, 0);
  for (const char* seed : {"1", "2", "3"}) {
    const Outcome outcome = generate({{"--checkpoint", out().string()},
                                      {"--prompt", "😀"},
                                      {"--temperature", "5"},
                                      {"--seed", seed}});
    ASSERT_EQ(outcome.code, 0) << outcome.errors;
    EXPECT_NO_THROW(check_utf8(outcome.output, "the output"));
    EXPECT_EQ(outcome.output.find("�"), std::string::npos);
  }
}

TEST_F(Programs, GenerateWorksWithoutANewlineToken) {
  for (const bool has_returns : {false, true}) {
    std::string text;
    for (int i = 0; i < 3000; ++i)
      text += has_returns && i % 60 == 59 ? '\r' : "ACGT"[(i * i + i / 7) % 4];
    std::ofstream(directory_ / "play.txt") << text;
    Arguments arguments = small_run().arguments();
    arguments.emplace_back("--overwrite");
    const Outcome trained = run("train", arguments);
    ASSERT_EQ(trained.code, 0) << trained.errors;
    const Outcome outcome =
        run("generate", {"--checkpoint", out().string(), "--tokens", "10", "--threads", "1"});
    EXPECT_EQ(outcome.code, 0) << outcome.errors;
    EXPECT_EQ(outcome.errors, "");
    ASSERT_EQ(outcome.output.size(), 11u) << outcome.output;
    EXPECT_EQ(outcome.output.find_first_not_of("ACGT\r"), 10u) << outcome.output;
    // Identical to the sample that train printed.
    EXPECT_NE(trained.output.find("sample of generated text:\n" + visible(outcome.output)),
              std::string::npos)
        << trained.output;
    const Outcome json = run(
        "generate", {"--checkpoint", out().string(), "--tokens", "10", "--threads", "1", "--json"});
    EXPECT_EQ(nlohmann::json::parse(json.output)["prompt"], "");
  }
}

TEST_F(Programs, GenerateRefusesBadInput) {
  ASSERT_EQ(train(small_run()).code, 0);
  const fs::path good = out() / "final_checkpoint", damaged = directory_ / "damaged";
  const auto expect_refused = [&](const Options& options, int code,
                                  std::initializer_list<std::string_view> mentions,
                                  std::string_view input = "") {
    SCOPED_TRACE(command(options));
    const Outcome outcome = generate(options, input);
    expect_failed(outcome, code, mentions);
    EXPECT_EQ(outcome.output, "");
  };
  expect_refused({{"--prompt", "ROMEO"}}, 2, {"--checkpoint is missing", "no run in checkpoints/"});
  expect_refused({{"--checkpoint", (directory_ / "missing").string()}}, 1,
                 {"missing", "no such folder"});
  expect_refused({{"--checkpoint", (good / "model.safetensors").string()}}, 1,
                 {"model.safetensors", "no such folder"});
  expect_refused({{"--checkpoint", directory_.path().string()}}, 1, {"not a checkpoint"});
  expect_refused({{"--checkpoint", good.string()}, {"--prompt", ""}}, 2,
                 {"--prompt", "at least one character"});
  expect_refused({{"--checkpoint", good.string()}, {"--prompt", "-"}}, 1,
                 {"--prompt", "byte 2 (0xff)", "UTF-8"}, "ab\xff");
  expect_refused({{"--checkpoint", good.string()}, {"--temperature", "-1"}}, 2,
                 {"--temperature", "-1"});
  expect_refused({{"--checkpoint", good.string()}, {"--top-p", "0"}}, 2, {"--top-p", "0"});
  expect_refused({{"--checkpoint", good.string()}, {"--top-k", "-1"}}, 2, {"--top-k", "-1"});
  expect_refused({{"--checkpoint", good.string()}, {"--repetition-penalty", "0"}}, 2,
                 {"--repetition-penalty", "0"});
  expect_refused({{"--checkpoint", good.string()}, {"--samples", "0"}}, 2, {"--samples", "0"});
  expect_refused({{"--checkpoint", good.string()}, {"--samples", "2"}, {"--temperature", "0"}}, 2,
                 {"--samples 2", "all the same"});
  expect_refused({{"--checkpoint", good.string()}, {"--prompt", "日本"}}, 1,
                 {"knows none of it", "日 U+65E5 (1), 本 U+672C (1)"});
  expect_refused({{"--checkpoint", good.string()}, {"--state", (directory_ / "play.txt").string()}},
                 1, {"play.txt is no saved state of a text", "choose another one"});
  expect_refused({{"--checkpoint", good.string()}, {"--temprature", "1"}}, 2,
                 {"unknown option --temprature", "did you mean --temperature?"});

  for (const char* file :
       {"config.json", "tokenizer.json", "model.safetensors", "optimizer.safetensors"}) {
    fs::remove_all(damaged);
    fs::copy(good, damaged);
    fs::remove(damaged / file);
    expect_refused({{"--checkpoint", damaged.string()}}, 1, {damaged.string(), file, "missing"});
  }
  fs::remove_all(damaged);
  fs::copy(good, damaged);
  fs::resize_file(damaged / "model.safetensors", fs::file_size(good / "model.safetensors") / 2);
  expect_refused({{"--checkpoint", damaged.string()}}, 1,
                 {"model.safetensors", "not what was saved"});
}

TEST_F(Programs, ReportShowsRuns) {
  ASSERT_EQ(train(small_run()).code, 0);
  ASSERT_EQ(
      train(small_run().set("--out", (directory_ / "second").string()).set("--lr", "1e-2")).code,
      0);
  const fs::path html = directory_ / "report.html";
  const Outcome text = run("report", {out().string(), "--html", html.string()});
  ASSERT_EQ(text.code, 0) << text.errors;
  for (const char* part :
       {"3 in 1 epoch", "precision      float32", "validation     best", "learning rate",
        "every figure is finite", "1-3", "loss: . training, V validation"})
    EXPECT_NE(text.output.find(part), std::string::npos) << part << " is not in: " << text.output;
  EXPECT_TRUE(read_file(html).starts_with("<!DOCTYPE html>"));
  EXPECT_NE(read_file(html).find("What it writes"), std::string::npos);
  EXPECT_NE(read_file(html).find("<b>float32</b><span>precision</span>"), std::string::npos);

  const Outcome two = run("report", {out().string(), (directory_ / "second").string()});
  EXPECT_NE(two.output.find("the best validation first:"), std::string::npos) << two.output;
  const Outcome watched = run("report", {out().string(), "--watch"});
  EXPECT_EQ(watched.code, 0) << "ends with the runs";
  for (const char* part : {"validation", "3/3", "ended"})
    EXPECT_NE(watched.output.find(part), std::string::npos) << watched.output;
  const Outcome figures = run("report", {out().string(), "--json"});
  EXPECT_EQ(nlohmann::json::parse(figures.output)[0]["steps"], 3);

  expect_failed(run("report", {}), 2, {"run is missing: folders of runs"});
  expect_failed(run("report", {(directory_ / "missing").string()}), 1,
                {"missing", "no such folder"});
  expect_failed(
      run("report", {out().string(), "--html", (directory_ / "no/such/folder.html").string()}), 1,
      {"no/such/folder.html"});
  ASSERT_EQ(run("report", {out().string(), "--html", html.string()}).code, 0)
      << "a page takes an earlier one's place";
  const fs::path metrics = out() / "metrics.jsonl";
  const std::string rows = read_file(metrics);
  expect_failed(run("report", {out().string(), "--html", metrics.string()}), 2,
                {"--html", metrics.string(), "of another kind"});
  EXPECT_EQ(read_file(metrics), rows);
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

TEST_F(Programs, Probe) {
  const fs::path golden = fs::path(MMREC_SOURCE_DIR) / "tests/model/golden/base.safetensors",
                 result = directory_ / "out.safetensors",
                 truncated = directory_ / "truncated.safetensors";
  const Outcome outcome = run("probe", {golden.string(), result.string(), "--threads", "1"});
  EXPECT_EQ(outcome.code, 0) << outcome.errors;
  EXPECT_GE(fs::file_size(result) + 4096, fs::file_size(golden))
      << "the same keys, but for the header's layout";

  fs::remove(result);
  const std::string content = read_file(golden);
  for (const size_t length :
       {size_t{0}, size_t{5}, size_t{100}, content.size() / 2, content.size() - 1}) {
    SCOPED_TRACE(length);
    std::ofstream(truncated, std::ios::binary) << content.substr(0, length);
    expect_failed(run("probe", {truncated.string(), result.string(), "--threads", "1"}), 1,
                  {"truncated.safetensors"});
    EXPECT_FALSE(fs::exists(result));
  }
  expect_failed(run("probe", {(directory_ / "missing").string(), result.string()}), 1,
                {"missing", "No such file"});
  expect_failed(
      run("probe", {golden.string(), (directory_ / "no/such/folder").string(), "--threads", "1"}),
      1, {"no/such/folder"});
  expect_failed(run("probe", {golden.string()}), 2, {"output is missing: what to write"});
}

TEST_F(Programs, BenchComparesAndReports) {
  const fs::path json = directory_ / "report.json", html = directory_ / "report.html";
  const Outcome outcome = run("bench", {"--compare", "column_sum", "--seconds", "1e-3", "--threads",
                                        "1", "--json", json.string(), "--html", html.string()});
  ASSERT_EQ(outcome.code, 0) << outcome.errors;
  for (const char* part : {"CPU", "threads             1 of", "peak", "rivals",
                           "column_sum/plain/fwd/512x128", "GB/s", "schedules from"})
    EXPECT_NE(outcome.output.find(part), std::string::npos)
        << part << " is not in: " << outcome.output;
  EXPECT_NE(read_file(json).find("\"name\": \"column_sum/plain/fwd/512x128\""), std::string::npos);
  EXPECT_TRUE(read_file(html).starts_with("<!DOCTYPE html>"));

  const Outcome list = run("bench", {"--compare", "column_sum", "--list"});
  EXPECT_EQ(list.code, 0) << list.errors;
  EXPECT_TRUE(list.output.starts_with("column_sum/plain/fwd/512x128\n")) << list.output;
  const Outcome some = run("bench", {"--suite", "gemm", "--list", "--only", "/nn_.*/17x19x33$"});
  EXPECT_TRUE(some.output.starts_with("gemm/nn_packed/fwd/17x19x33\n")) << some.output;
}

TEST_F(Programs, BenchRefusesWrongUse) {
  const fs::path json = directory_ / "report.json";
  expect_failed(run("bench", {"--suite", "gem"}), 2, {"no suite 'gem'", "gemm"});
  expect_failed(run("bench", {"--compare", "gem"}), 2, {"no operation 'gem'", "gemm"});
  expect_failed(run("bench", {"--suite", "gemm", "--compare", "gemm"}), 2,
                {"--compare", "--suite"});
  expect_failed(run("bench", {"--suite", "gemm", "--seconds", "0"}), 2, {"--seconds", "0"});
  expect_failed(run("bench", {"--json", json.string()}), 2,
                {"--json", "--suite", "--benchmark_out"});
  expect_failed(run("bench", {"--benchmark_fliter=x", "--suite", "gemm"}), 2,
                {"--benchmark_fliter=x"});
  expect_failed(run("bench", {"--mca", "gemm"}), 2, {"op:variant", "'gemm'"});
  expect_failed(run("bench", {"--mca", "gemm:sideways"}), 2,
                {"no kernel 'gemm:sideways'", "gemm:packed:nt"});
  expect_failed(run("bench", {"--suite", "gemm", "--only", "nothing"}), 2, {"nothing", "--list"});
  expect_failed(run("bench", {"--suite", "gemm", "--only", "("}), 2, {"regular expression"});
  expect_failed(run("bench", {"--cold"}), 2, {"--cold", "--suite"});
  expect_failed(run("bench", {"--suite", "train", "--cold"}), 2, {"--cold", "train"});
  expect_failed(run("bench", {"--only", "gemm"}), 2, {"--suite", "--benchmark_filter"});
  for (const char* option : {"--suite", "--compare", "--mca", "--only", "--json", "--html"})
    expect_failed(run("bench", {option, ""}), 2, {option, "empty"});
  EXPECT_FALSE(fs::exists(json));
  // Checked before anything is measured.
  for (const char* option : {"--json", "--html"}) {
    const Outcome outcome =
        run("bench", {"--suite", "gemm", option, (directory_ / "missing/report").string()});
    expect_failed(outcome, 1, {"missing/report", "No such file"});
    EXPECT_EQ(outcome.output, "");
  }
}

TEST_F(Programs, BenchChecksGoogleBenchmarksOptionsBeforeItMeasures) {
  const Outcome list = run("bench", {"--benchmark_list_tests", "--benchmark_filter=^column_sum/"});
  EXPECT_EQ(list.code, 0) << list.errors;
  EXPECT_TRUE(list.output.starts_with("column_sum/plain/fwd/512x128\n")) << list.output;
  EXPECT_EQ(list.output.find("gemm"), std::string::npos);
  const auto refused = [&](const std::string& option, int code,
                           const std::vector<std::string>& mentions) {
    const Outcome outcome = run("bench", {option});
    expect_failed(outcome, code, {mentions.begin(), mentions.end()});
    EXPECT_EQ(outcome.output, "") << option;
  };
  refused("--benchmark_fliter=x", 2,
          {"no option --benchmark_fliter", "did you mean --benchmark_filter?"});
  refused("--benchmark_filter=nothing", 2, {"matches no row", "nothing"});
  refused("--benchmark_format=xml", 2, {"--benchmark_format", "'xml'", "csv"});
  for (const std::string option :
       {"--benchmark_repetitions=x", "--benchmark_repetitions=0x10", "--benchmark_min_time=long"})
    refused(option, 2,
            {option.substr(0, option.find('=')) + " does not take the value '" +
             option.substr(option.find('=') + 1) + "'"});
  refused(fmt::format("--benchmark_out={}", (directory_ / "missing/out.json").string()), 1,
          {"missing/out.json", "No such file"});
}

TEST_F(Programs, BenchShowsAnInnerLoop) {
  const Outcome real = run("bench", {"--mca", "gemm:packed:nt"});
  EXPECT_EQ(real.code, 0) << real.errors;
  EXPECT_NE(real.output.find("of the FMA peak"), std::string::npos) << real.output;

  const std::string path = fmt::format("PATH={}", directory_.path().string());
  expect_failed(run("bench", {"--mca", "gemm:packed:nt"}, {path}), 1,
                {"llvm-mca", "not on the PATH", "Debian's package llvm"});

  const fs::path program = directory_ / "llvm-mca";
  const auto answer_with = [&](const std::string& script) {
    std::ofstream(program) << "#!/bin/sh\n" << script;
    fs::permissions(program, fs::perms::owner_all);
  };
  answer_with(
      "echo 'Iterations: 10'; echo 'Total Cycles: 300'; echo 'IPC: 1.5'; echo 'Block RThroughput: "
      "24.0'\n");
  const Outcome outcome = run("bench", {"--mca", "gemm:packed:nt"}, {path});
  EXPECT_EQ(outcome.code, 0) << outcome.errors;
  for (const char* part :
       {"gemm_packed_nt", "multiply-adds", "30.00 cycles an iteration", "of the FMA peak"})
    EXPECT_NE(outcome.output.find(part), std::string::npos)
        << part << " is not in: " << outcome.output;

  answer_with("echo 'unknown CPU'; exit 1\n");
  expect_failed(run("bench", {"--mca", "gemm:packed:nt"}, {path}), 1,
                {"unknown CPU", "a newer one"});
}

TEST_F(Programs, VariantsCanBeForced) {
  expect_failed(train(small_run(), {"MMREC_FORCE=scan:sideways"}), 2,
                {"'scan' has no variant 'sideways'", "logspace", "serial"});
  expect_no_checkpoint(out());
  fs::remove_all(out());
  expect_failed(train(small_run(), {"MMREC_FORCE=skan:serial"}), 2,
                {"no operation 'skan'", "scan"});
  expect_no_checkpoint(out());
  fs::remove_all(out());
  expect_failed(train(small_run(), {"MMREC_FORCE=scan"}), 2,
                {"MMREC_FORCE", "op:variant", "'scan'"});
  expect_no_checkpoint(out());
  fs::remove_all(out());
  const Outcome forced = train(small_run(), {"MMREC_FORCE=scan:logspace"});
  EXPECT_EQ(forced.code, 0) << forced.errors;
}

TEST_F(Programs, DispatchIsShownOnRequest) {
  const Outcome outcome = train(small_run(), {"MMREC_VERBOSE=dispatch"});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_EQ(outcome.output.find("dispatch:"), std::string::npos);
  std::istringstream lines(outcome.errors);
  int seen = 0, products = 0;
  for (std::string line; std::getline(lines, line); ++seen) {
    EXPECT_TRUE(line.starts_with("dispatch: ") && line.find(" -> ") != line.npos) << line;
    products += line.starts_with("dispatch: gemm.nt [") && line.find("] -> packed (") != line.npos;
  }
  EXPECT_GT(seen, 20);
  EXPECT_GE(products, 2) << outcome.errors;
}

TEST_F(Programs, DispatchShowsWhichKernelsHaveBf16Factors) {
  MMREC_NEEDS_BF16();
  const std::string lines =
      train(small_run().set("--precision", "bf16"), {"MMREC_VERBOSE=dispatch"}).errors;
  for (const char* line : {"dispatch: gemm.nt bf16 [", "dispatch: rmsnorm.forward ["})
    EXPECT_NE(lines.find(line), lines.npos) << lines;
  EXPECT_EQ(lines.find("dispatch: gemm.nt ["), lines.npos) << lines;
}

}  // namespace
}  // namespace mmrec
