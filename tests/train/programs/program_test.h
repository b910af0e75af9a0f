#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support/atomic_file.h"
#include "tests/common/process.h"
#include "tests/common/temporary_directory.h"

namespace mmrec::test {

namespace fs = std::filesystem;
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
    const int code = Process(std::move(words), std::move(environment), directory_.path()).wait();
    return {code, read_file(directory_ / "stdout"), read_file(directory_ / "stderr")};
  }

  /// Runs a shell command.
  Outcome run_line(const std::string& line) const {
    const int code = Process({"/bin/bash", "-c", line}, {}, directory_.path()).wait();
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

inline std::string command(const Options& options) {
  return fmt::format("{}", fmt::join(options.arguments(), " "));
}

inline void expect_failed(const Outcome& outcome, int code,
                          const std::vector<std::string_view>& mentions) {
  EXPECT_EQ(outcome.code, code) << outcome.errors;
  EXPECT_TRUE(outcome.errors.starts_with("error: ")) << outcome.errors;
  for (const std::string_view part : mentions)
    EXPECT_NE(outcome.errors.find(part), std::string::npos)
        << part << " is not in: " << outcome.errors;
}

/// Expects neither a checkpoint nor a part of one.
inline void expect_no_checkpoint(const fs::path& out) {
  if (!fs::exists(out)) return;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(out)) {
    const std::string name = entry.path().filename().string();
    EXPECT_TRUE(name == "config.json" || name == "metrics.jsonl" || name == "training_output.log")
        << entry.path();
  }
}

}  // namespace mmrec::test
