#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/cpu_info.h"
#include "runtime/kernel_registry.h"
#include "runtime/kernel_table.h"
#include "support/atomic_file.h"
#include "support/names.h"
#include "support/version.h"
#include "tests/common/bf16.h"
#include "tests/common/process.h"
#include "tests/train/programs/program_test.h"
#include "train/run/metrics.h"

namespace mmrec {
namespace {

namespace fs = std::filesystem;
using test::Arguments;
using test::command;
using test::expect_failed;
using test::expect_no_checkpoint;
using test::Outcome;
using test::Programs;

/// Returns whether the system provides terminals; a container or chroot may not.
bool has_terminals() {
  const int terminal = ::posix_openpt(O_RDWR | O_NOCTTY);
  if (terminal >= 0) ::close(terminal);
  return terminal >= 0;
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
