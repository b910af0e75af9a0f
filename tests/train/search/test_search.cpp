#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <csignal>
#include <fstream>
#include <set>
#include <thread>

#include "support/atomic_file.h"
#include "support/child_process.h"
#include "support/error.h"
#include "tests/common/expect_error.h"
#include "tests/common/process_ends.h"
#include "tests/common/temporary_directory.h"
#include "train/search/search.h"
#include "train/search/search_space.h"
#include "train/search/workers.h"

namespace mmrec {
namespace {

TEST(SearchSpace, GridsAreCombined) {
  const SearchSpace space{{parse_grid("lr=1e-3,3e-3"), parse_grid("--batch=2,4,8")}, {}};
  const std::vector<Settings> all = space.combinations();
  ASSERT_EQ(all.size(), 6u);
  EXPECT_EQ(describe(all[0]), "lr=1e-3 batch=2");
  EXPECT_EQ(describe(all[1]), "lr=1e-3 batch=4");
  EXPECT_EQ(describe(all[5]), "lr=3e-3 batch=8");
}

TEST(SearchSpace, InvalidTextIsRefused) {
  const auto refused = [](auto parse, const char* text,
                          std::initializer_list<std::string_view> parts) {
    SCOPED_TRACE(text);
    test::expect_error<UsageError>([&] { parse(text); }, parts);
  };
  for (const char* text : {"lr", "=1", ""})
    refused(parse_grid, text, {"--grid", "name=value,value"});
  for (const char* text : {"lr=", "lr=1,", "lr=,1", "lr=1,,2"})
    refused(parse_grid, text, {"a value is missing"});
  for (const char* text : {"lr=1,2,1", "seed=1,01", "steps=010,10", "lr=1e-3,0.001", "decay=0,0.0",
                           "seed=18446744073709551615,018446744073709551615"})
    refused(parse_grid, text, {"occurs twice"});
  for (const char* text :
       {"data=1,01", "seed=18446744073709551615,18446744073709551614", "lr-min=1,1x"})
    EXPECT_EQ(parse_grid(text).values.size(), 2u);
  for (const char* text : {"lr", "lr=1", "lr=1:2:3:4", "lr=1:2:exp", "=1:2"})
    refused(parse_range, text, {"--range", "name=low:high"});
  for (const char* text : {"lr=a:2", "lr=1:2x", "lr=1:inf", "lr=nan:1", "lr=:"})
    refused(parse_range, text, {"must be numbers"});
  for (const char* text : {"x=0x1:0x10", "x=1:0x10", "x=+1:2"})
    refused(parse_range, text, {"must be numbers"});
  for (const char* text :
       {"seed=0:18446744073709551616", "seed=1:9007199254740994", "x=-9223372036854775809:0"})
    refused(parse_range, text, {"from -9007199254740992 to 9007199254740992"});
  refused(parse_range, "lr=2:1", {"2 is not below 1"});
  refused(parse_range, "lr=0:1:log", {"begins above 0"});
  const auto check = [](const char*) {
    SearchSpace{{parse_grid("lr=1,2")}, {parse_range("lr=1:2")}}.check();
  };
  refused(check, "twice", {"lr is given twice"});
  const auto combine = [](const char*) {
    GridAxis many{"x", std::vector<std::string>(1000, "1")};
    SearchSpace{{many, many}, {}}.combinations();
  };
  refused(combine, "too many", {"more than 100000", "--random"});
}

TEST(SearchSpace, DrawsFollowTheirRanges) {
  const SearchSpace space{
      {parse_grid("memory=a,b")},
      {parse_range("lr=1e-5:1e-1:log"), parse_range("dropout=0:0.5"), parse_range("batch=1:4")}};
  constexpr int kDraws = 4000;
  double log_sum = 0, sum = 0, b = 0;
  std::map<std::string, int> batches;
  for (int i = 0; i < kDraws; ++i) {
    const Settings settings = space.draw(42, i);
    ASSERT_EQ(settings.size(), 4u);
    b += settings[0].second == "b" ? 1 : 0;
    const double lr = std::stod(settings[1].second), dropout = std::stod(settings[2].second);
    EXPECT_TRUE(lr >= 0.99e-5 && lr <= 1.01e-1 && dropout >= 0 && dropout <= 0.5)
        << describe(settings);
    log_sum += std::log10(lr);
    sum += dropout;
    ++batches[settings[3].second];
  }
  EXPECT_NEAR(b / kDraws, 0.5, 0.04);
  EXPECT_NEAR(log_sum / kDraws, -3, 0.1);
  EXPECT_NEAR(sum / kDraws, 0.25, 0.012);
  EXPECT_EQ(batches.size(), 4u);
  for (const auto& [batch, count] : batches) EXPECT_NEAR(count, kDraws / 4, 150) << batch;

  EXPECT_EQ(space.draw(42, 7), space.draw(42, 7));
  EXPECT_NE(space.draw(42, 7), space.draw(42, 8));
  EXPECT_NE(space.draw(42, 7), space.draw(43, 7));

  const SearchSpace decimal{.grids = {}, .ranges = {parse_range("seed=08:010")}};
  for (uint64_t i = 0; i < 30; ++i)
    EXPECT_TRUE(std::set<std::string>({"8", "9", "10"}).contains(decimal.draw(42, i)[0].second));

  const SearchSpace around_zero{.grids = {}, .ranges = {parse_range("x=-1:1")}};
  std::set<std::string> drawn;
  for (uint64_t i = 0; i < 100; ++i) drawn.insert(around_zero.draw(42, i)[0].second);
  EXPECT_EQ(drawn, (std::set<std::string>{"-1", "0", "1"})) << "-0 is 0";
}

TEST(SearchRungs, ArePartsFromATenthOn) {
  EXPECT_EQ(search_rungs(0), std::vector<double>{1});
  EXPECT_EQ(search_rungs(2), (std::vector<double>{0.125, 0.25, 0.5, 1}));
  EXPECT_EQ(search_rungs(3), (std::vector<double>{1. / 9, 1. / 3, 1}));
  EXPECT_EQ(search_rungs(4), (std::vector<double>{0.25, 1}));
  EXPECT_EQ(search_rungs(10), (std::vector<double>{0.1, 1}));
}

TEST(SearchTable, SaysWhereAnExperimentWasStopped) {
  const std::vector<SearchResult> results = {
      {.settings = {{"lr", "2"}},
       .folder = "a",
       .validation_loss = 1,
       .bits_per_byte = 1.4427,
       .steps = 40,
       .seconds = 80},
      {.settings = {{"lr", "1"}},
       .folder = "b",
       .validation_loss = 2,
       .bits_per_byte = 2.8854,
       .steps = 10,
       .seconds = 20,
       .part = 0.25},
      {.settings = {{"lr", "3"}}, .folder = "c", .error = "too bad"}};
  const TableRows rows = search_rows(results, true);
  EXPECT_EQ(rows[0][1], "stopped");
  EXPECT_EQ(rows[1][1], "");
  EXPECT_EQ(rows[1][8], "1:20");
  EXPECT_EQ(rows[2][1], "step 10");
  EXPECT_EQ(rows[2][2], "2.8854");
  EXPECT_EQ(rows[2][7], "10");
  EXPECT_EQ(rows[3][2], "failed");
  EXPECT_EQ(rows[3][9], "too bad");
  EXPECT_EQ(seconds_saved(results), 60);
  EXPECT_EQ(search_rows({results[0]}, false)[0][1], "bits/byte") << "none was stopped";
}

class ChildProcessTest : public testing::Test {
 protected:
  ChildProcess shell(const std::string& script, const Inheritance& inheritance = {}) const {
    return ChildProcess({"/bin/sh", "-c", script}, directory_ / "output", {}, inheritance);
  }
  std::string output() const { return read_file(directory_ / "output"); }
  test::TemporaryDirectory directory_;
};

TEST_F(ChildProcessTest, ReturnsTheExitCode) {
  EXPECT_EQ(shell("echo out; echo err >&2; exit 3").wait(), 3);
  EXPECT_EQ(output(), "out\nerr\n");
  EXPECT_EQ(shell("kill -9 $$").wait(), -9);
  EXPECT_EQ(shell("cat").wait(), 0) << "there is nothing to read";
}

TEST_F(ChildProcessTest, CanBePolledAndStopped) {
  ChildProcess child = shell("sleep 60");
  EXPECT_FALSE(child.poll());
  child.send(SIGTERM);
  EXPECT_EQ(child.wait(), -SIGTERM);
  child.send(SIGTERM);  // no process receives it
  { const ChildProcess forgotten = shell("sleep 60"); }
}

// Even if the parent is killed: here a forked copy of this process.
TEST_F(ChildProcessTest, DoesNotOutliveItsParent) {
  const auto kill_parent = [&](const std::string& script, const Inheritance& inheritance) {
    std::filesystem::remove(directory_ / "output");
    const pid_t parent = ::fork();
    if (parent == 0) {
      std::signal(inheritance.last_signal, SIG_IGN);
      const ChildProcess child = shell("echo $$; " + script, inheritance);
      for (;;) ::pause();
    }
    while (!std::filesystem::exists(directory_ / "output") || output().empty())
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    const pid_t child = std::stoi(output());
    ::kill(parent, SIGKILL);
    ::waitpid(parent, nullptr, 0);
    return child;
  };
  EXPECT_TRUE(test::ends(kill_parent("exec sleep 60", {})));
  const std::string asked = (directory_ / "asked").string(),
                    script = "trap 'echo > " + asked + "; exit' PIPE; while :; do sleep 0.01; done";
  EXPECT_TRUE(test::ends(kill_parent(script, {.last_signal = SIGPIPE})));
  EXPECT_TRUE(std::filesystem::exists(asked));
}

TEST_F(ChildProcessTest, HasTheEnvironmentThatItIsGiven) {
  ::setenv("MMREC_TEST", "here", 1);
  EXPECT_EQ(shell("echo $MMREC_TEST").wait(), 0);
  EXPECT_EQ(output(), "here\n");
  EXPECT_EQ(shell("echo $MMREC_TEST $MORE", {.environment = {{"MORE=more"}}}).wait(), 0);
  EXPECT_EQ(output(), "more\n");
  ::unsetenv("MMREC_TEST");
}

TEST_F(ChildProcessTest, MayBeACopyOfItsParent) {
  EXPECT_EQ(ChildProcess([] { return 3; }).wait(), 3);
  {
    const ChildProcess forgotten([] { return ::pause(); });
  }
  const pid_t parent = ::fork();
  if (parent == 0) {
    const ChildProcess child([&] {
      std::signal(SIGTERM, SIG_IGN);
      std::ofstream(directory_ / "output") << ::getpid() << std::endl;
      return ::pause();
    });
    for (;;) ::pause();
  }
  while (!std::filesystem::exists(directory_ / "output") || !output().ends_with('\n'))
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  ::kill(parent, SIGKILL);
  ::waitpid(parent, nullptr, 0);
  EXPECT_TRUE(test::ends(std::stoi(output())));
}

TEST_F(ChildProcessTest, IsSearchedInThePath) {
  EXPECT_EQ(ChildProcess({"sh", "-c", "exit 4"}).wait(), 4);
}

TEST_F(ChildProcessTest, ThrowsIfItCannotStart) {
  test::expect_error(
      [&] { ChildProcess({(directory_ / "missing").string()}, directory_ / "output"); },
      {"cannot start", "missing", "No such file"});
  test::expect_error([&] { ChildProcess({"/bin/sh"}, directory_ / "no/such/folder"); },
                     {"cannot write", "no/such/folder"});
  test::expect_error([&] { sibling_program("no_such_program"); },
                     {"no_such_program", "make build"});
}

/// Rank 0 of two; the other one answers what it is told to.
class RanksWithBroken final : public Ranks {
 public:
  RanksWithBroken() : Ranks(0, 2) {}
  std::vector<std::string> gather(const std::string& text) override { return {text, answer}; }
  std::string answer;
};

TEST(Workers, StartWhereARankCan) {
  const test::TemporaryDirectory directory;
  RanksWithBroken ranks;
  Workers workers(ranks, 2, 1);
  EXPECT_EQ(workers.room(), 4);
  const auto start = [&](const char* output) { workers.start({"--help"}, directory / output); };
  start("a");  // ranks with as few processes are asked in their order
  start("b");
  ranks.answer = "no more processes";
  start("c");
  EXPECT_TRUE(std::filesystem::exists(directory / "a"));
  EXPECT_FALSE(std::filesystem::exists(directory / "b")) << "the other rank's";
  EXPECT_TRUE(std::filesystem::exists(directory / "c"));
  test::expect_error([&] { start("d"); }, {"no more processes"});
  test::expect_error<UsageError>([&] { workers.check(directory.path()); }, {"no more processes"});
  ranks.answer = "";
  std::set<std::string> ended;
  while (ended.size() < 2)
    for (const auto& [output, code] : workers.take_ended()) {
      EXPECT_EQ(code, 0);
      ended.insert(output.filename());
    }
  EXPECT_EQ(ended, (std::set<std::string>{"a", "c"}));
}

}  // namespace
}  // namespace mmrec
