#include "train/programs/command_line.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <filesystem>
#include <limits>
#include <new>
#include <nlohmann/json.hpp>
#include <regex>
#include <system_error>
#include <vector>

#include "runtime/threads.h"
#include "support/error.h"

namespace mmrec {
namespace {

struct Outcome {
  int code;
  std::string output, errors;
};

/// Runs a program with a few options and subcommands on given arguments.
class CommandLineTest : public testing::Test {
 protected:
  CommandLineTest() {
    number(program_.app(), "--batch", batch_, "sequences a step", {.at_least = 1});
    number(program_.app(), "--lr", lr_, "learning rate", {.more_than = 0});
    number(program_.app(), "--dropout", dropout_, "part that is dropped",
           {.at_least = 0, .less_than = 1});
    number_or_auto(program_.app(), "--tokens", tokens_, -1, "of a validation", {.at_least = 0});
    number(*program_.app().add_subcommand("sweep", "measure candidates"), "--budget", budget_,
           "minutes", {.at_most = 60});
    program_.app().add_subcommand("show", "print the table");
  }

  Outcome run(std::vector<const char*> arguments) {
    arguments.insert(arguments.begin(), "tune");
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    const int code = program_.run(static_cast<int>(arguments.size()), arguments.data(), body_);
    return {code, testing::internal::GetCapturedStdout(), testing::internal::GetCapturedStderr()};
  }

  void expect_wrong_use(std::vector<const char*> arguments, const std::vector<std::string>& parts) {
    body_ = [] { ADD_FAILURE() << "the body ran"; };
    const Outcome outcome = run(std::move(arguments));
    EXPECT_EQ(outcome.code, 2);
    EXPECT_EQ(outcome.output, "");
    EXPECT_TRUE(outcome.errors.starts_with("error: ")) << outcome.errors;
    for (const std::string& part : parts)
      EXPECT_NE(outcome.errors.find(part), std::string::npos)
          << "'" << part << "' is not in: " << outcome.errors;
  }

  Program program_{"tune", "Tunes the kernels.", "tune sweep --budget 5"};
  int batch_ = 2, budget_ = 5;
  int64_t tokens_ = -1;
  double lr_ = 3e-4, dropout_ = 0.1;
  std::function<void()> body_ = [] {};
};

TEST_F(CommandLineTest, OptionsReachTheBody) {
  body_ = [&] {
    EXPECT_EQ(batch_, 4);
    EXPECT_EQ(lr_, 1e-3);
    EXPECT_EQ(num_threads(), 3);
    EXPECT_EQ(program_.seed(), std::numeric_limits<uint64_t>::max());
    EXPECT_TRUE(program_.quiet());
    fmt::print("done\n");
  };
  const Outcome outcome = run(
      {"--batch", "4", "--lr=1e-3", "--threads", "3", "--seed", "18446744073709551615", "--quiet"});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_EQ(outcome.output, "done\n");
  EXPECT_EQ(outcome.errors, "");
}

TEST_F(CommandLineTest, CommonOptionsMayFollowTheSubcommand) {
  body_ = [&] { EXPECT_EQ(program_.seed(), 7u); };
  EXPECT_EQ(run({"sweep", "--seed", "7", "--budget", "6"}).code, 0);
  EXPECT_EQ(budget_, 6);
}

TEST_F(CommandLineTest, ArgumentsInBracketsStayWhole) {
  std::vector<std::string> sets, paths;
  std::string data;
  program_.app().add_option("--set", sets, "fields");
  program_.app().add_option("--data", data, "a text");
  program_.app().add_option("path", paths, "runs");
  body_ = [&] {
    EXPECT_EQ(sets, (std::vector<std::string>{"[a,b]", "[c]", "[]"}));
    EXPECT_EQ(data, "[d,e]");
    EXPECT_EQ(paths, (std::vector<std::string>{"[f,g]", "[h]", "[[i]]", "[", "]"}));
  };
  const Outcome outcome = run({"--set", "[a,b]", "[c]", "--set=[]", "--data", "[d,e]", "--quiet",
                               "[f,g]", "[h]", "--", "[[i]]", "[", "]"});
  EXPECT_EQ(outcome.code, 0) << outcome.errors;
  expect_wrong_use({"--batch", "[2]"}, {"--batch: [2] is not a whole number"});
  expect_wrong_use({"--bacth=[2]"}, {"unknown option --bacth;"});
  expect_wrong_use({"--quiet=[2]"}, {"--quiet takes no value, but [2] is given\n"});
}

TEST_F(CommandLineTest, WrongUseIsReportedInOurWords) {
  std::string format;
  bool json = false;
  program_.app().add_flag("--json", json, "as JSON");
  program_.app()
      .add_option("--format", format, "of the files")
      ->check(one_of({"text", "jsonl"}))
      ->excludes("--json");
  EXPECT_EQ(run({"--format", "jsonl"}).code, 0);
  EXPECT_EQ(format, "jsonl");
  expect_wrong_use({"--format", "xyz"}, {"--format: xyz is not one of: text, jsonl\n"});
  expect_wrong_use({"--format", "text", "--json"},
                   {"--format", "--json", "do not go together; leave one of them out\n"});
  expect_wrong_use({"--format"},
                   {"--format is given without a value; give it one, or leave it out\n"});
  expect_wrong_use({"sweep", "--budget"}, {"--budget is given without a value"});
  expect_wrong_use({"--batch", "--quiet"}, {"--batch is given without a value: the option --quiet "
                                            "follows; give it one, or write --batch=--quiet"});
  expect_wrong_use({"sweep", "--budget", "--lr=1e-3"},
                   {"--budget is given without a value: the option --lr=1e-3 follows"});
  program_.app().require_subcommand(1);
  expect_wrong_use({}, {"a command is missing; give one of sweep, show\n"});
}

TEST_F(CommandLineTest, HelpShowsOptionsDefaultsAndAnExample) {
  const Outcome outcome = run({"--help"});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_EQ(outcome.errors, "");
  const std::string help = std::regex_replace(outcome.output, std::regex(R"( \[([^\]\n]*)\])"),
                                              "=$1");  // newer versions of CLI11 say INT [2]
  for (const char* part :
       {"Tunes the kernels.", "--threads", "--seed", "--quiet", "--batch", "--batch INT=2",
        "--lr FLOAT=0.0003", "--tokens INT=auto", "Example:\n  tune sweep --budget 5"})
    EXPECT_NE(help.find(part), std::string::npos) << part << " is not in\n" << help;
}

TEST_F(CommandLineTest, UnknownOptionsSuggestTheNearest) {
  expect_wrong_use({"--bacth", "4"},
                   {"unknown option --bacth", "did you mean --batch?", "tune --help"});
  expect_wrong_use({"--thread=4"}, {"unknown option --thread;", "did you mean --threads?"});
  expect_wrong_use({"-lr", "1"}, {"unknown option -lr", "did you mean --lr?"});
  expect_wrong_use({"sweep", "--buget", "4"}, {"unknown option --buget", "did you mean --budget?"});
  expect_wrong_use({"swep"}, {"unexpected argument swep", "did you mean sweep?"});
}

TEST_F(CommandLineTest, OptionsOfOtherProgramsSuggestTheirs) {
  int64_t seq = 0;
  number_or_auto(program_.app(), "--seq", seq, 0, "windows");
  program_.app().add_option("--prompt", "how the text begins");
  program_.app().add_option("--set", "a field of the model");
  expect_wrong_use({"--learning_rate", "1e-3"},
                   {"unknown option --learning_rate; did you mean --lr?"});
  expect_wrong_use({"--batch-size=8"}, {"unknown option --batch-size; did you mean --batch?"});
  expect_wrong_use({"--block_size", "64"}, {"did you mean --seq?"});
  expect_wrong_use({"--n_layer", "6"}, {"did you mean --set layers=N?"});
  expect_wrong_use({"--text", "Once"}, {"did you mean --prompt?"});  // there is no --data
}

TEST_F(CommandLineTest, NothingIsSuggestedThatIsFar) {
  expect_wrong_use({"--galaxy"}, {"unknown option --galaxy\n"});
}

TEST_F(CommandLineTest, UnknownOptionComesBeforeTheOneMissingForIt) {
  program_.app().add_option("--checkpoint", "what to measure")->required();
  expect_wrong_use({"--chekpoint", "best"}, {"did you mean --checkpoint?"});
  expect_wrong_use({}, {"--checkpoint is missing: what to measure"});
}

TEST_F(CommandLineTest, ImpossibleValues) {
  expect_wrong_use({"--batch", "0"}, {"--batch: 0 is not a whole number from 1 to 2147483647"});
  for (const char* text :
       {"-3", "1.5", "1e1", "99999999999", "two", "", " 4", "4 ", "0x10", "4k", "+4", "nan"})
    expect_wrong_use({"--batch", text}, {fmt::format("--batch: {} is not a whole number", text)});
  expect_wrong_use({"--batch"}, {"--batch"});
  expect_wrong_use({"--batch", "1", "--batch", "2"}, {"--batch is given 2 times"});
  expect_wrong_use({"--lr", "0"}, {"--lr: 0 is not a number > 0"});
  for (const char* text : {"nan", "inf", "1e999", "0x1p-3", "1,5", "1e-3x"})
    expect_wrong_use({"--lr", text}, {fmt::format("--lr: {} is not", text)});
  expect_wrong_use({"--dropout", "1"}, {"--dropout: 1 is not a number >= 0 and < 1"});
  expect_wrong_use({"--dropout", "-0.1"}, {"--dropout: -0.1 is not a number >= 0"});
  expect_wrong_use({"sweep", "--budget", "61"},
                   {"--budget: 61 is not a whole number from -2147483648 to 60"});
  expect_wrong_use({"--threads", "0"}, {"--threads: 0"});
  expect_wrong_use({"--threads", "1025"}, {"--threads: 1025 is not a whole number from 1 to 1024"});
  for (const char* text : {"-1", "18446744073709551616", "99999999999999999999999", "0x1"})
    expect_wrong_use(
        {"--seed", text},
        {fmt::format("--seed: {} is not a whole number from 0 to 18446744073709551615", text)});
  for (const char* text : {"-1", "9223372036854775808", "Auto", "0x10"})
    expect_wrong_use(
        {"--tokens", text},
        {fmt::format(
            "--tokens: {} is not auto and not a whole number from 0 to 9223372036854775807",
            text)});
}

TEST_F(CommandLineTest, NumbersAreDecimal) {
  body_ = [&] {
    EXPECT_EQ(batch_, 10);
    EXPECT_EQ(program_.seed(), 8u);
    EXPECT_EQ(tokens_, 9);
    EXPECT_EQ(lr_, 0.01);
  };
  EXPECT_EQ(run({"--batch", "010", "--seed=08", "--tokens", "09", "--lr", "010e-3"}).code, 0);
  body_ = [&] { EXPECT_EQ(tokens_, -1); };
  EXPECT_EQ(run({"--tokens", "auto"}).code, 0);
}

TEST_F(CommandLineTest, BoundsAreInclusive) {
  EXPECT_EQ(run({"--batch", "1", "--dropout", "0", "sweep", "--budget", "60"}).code, 0);
  EXPECT_EQ(run({"--lr", "1e-300"}).code, 0);
}

TEST_F(CommandLineTest, ExceptionsBecomeExitCodes) {
  const auto outcome_of = [&](std::function<void()> body) {
    body_ = std::move(body);
    return run({});
  };
  const Outcome usage = outcome_of([] { fail_usage("unknown field '{}'", "dimm"); });
  EXPECT_EQ(usage.code, 2);
  EXPECT_EQ(usage.errors, "error: unknown field 'dimm'\n");
  const Outcome error = outcome_of([] { fail("the disk is full"); });
  EXPECT_EQ(error.code, 1);
  EXPECT_EQ(error.errors, "error: the disk is full\n");
  const Outcome other = outcome_of([] { throw std::logic_error("surprise"); });
  EXPECT_EQ(other.code, 1);
  EXPECT_EQ(
      other.errors,
      "error: a fault of the program itself (surprise); please report it, with the command\n");
  const Outcome memory = outcome_of([] { throw std::bad_alloc(); });
  EXPECT_EQ(memory.code, 1);
  EXPECT_EQ(memory.errors, "error: not enough memory\n");
  const Outcome missing =
      outcome_of([] { std::filesystem::create_directory("/no/such/folder\x1b"); });
  EXPECT_EQ(missing.code, 1);
  EXPECT_EQ(missing.errors,
            "error: cannot use /no/such/folder\\x1b: No such file or directory; check the path\n");
  const Outcome two =
      outcome_of([] { std::filesystem::copy_file("/no/such/file", "/no/such/other"); });
  EXPECT_EQ(two.errors,
            "error: cannot use /no/such/file and /no/such/other: No such file or directory; check "
            "the path\n");
  const Outcome json = outcome_of([] { nlohmann::json::object().at("step"); });
  EXPECT_EQ(json.errors, "error: the field 'step' is missing\n");
  const Outcome type = outcome_of([] { nlohmann::json(1).get<std::string>(); });
  EXPECT_EQ(type.errors, "error: a field is missing or of the wrong type\n");
  const Outcome system =
      outcome_of([] { throw std::system_error(EAGAIN, std::generic_category()); });
  EXPECT_EQ(system.errors, "error: the system says: Resource temporarily unavailable\n");
}

}  // namespace
}  // namespace mmrec
