// Training with several processes that mpirun starts.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "support/atomic_file.h"
#include "tests/common/bf16.h"
#include "tests/common/mpirun.h"
#include "tests/common/process.h"
#include "tests/common/temporary_directory.h"

namespace mmrec {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::seconds;
using Arguments = std::vector<std::string>;

class Ranks : public testing::Test {
 protected:
  Ranks() { test::write_play(directory_ / "play.txt"); }

  /// Arguments of a new run of a small model.
  Arguments new_run(const std::string& out, int64_t steps, Arguments more = {},
                    int parts = 6) const {
    Arguments arguments = {"--data",  directory_ / "play.txt", "--out", directory_ / out,
                           "--steps", std::to_string(steps)};
    for (const char* field : {"dim=32", "layers=2", "heads=2", "mem_slots=64"})
      arguments.insert(arguments.end(), {"--set", field});
    arguments.insert(arguments.end(), {"--recipe",        "documented",
                                       "--vocab",         "auto",
                                       "--seq",           "32",
                                       "--batch",         "2",
                                       "--accumulate",    std::to_string(parts),
                                       "--dropout",       "0.1",
                                       "--val-seq",       "64",
                                       "--eval-every",    "5",
                                       "--val-tokens",    "0",
                                       "--sample-tokens", "0",
                                       "--quiet"});
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  Arguments resumed_run(const std::string& out, Arguments more = {}) const {
    more.insert(more.end(), {"--resume", "--out", directory_ / out, "--quiet"});
    return more;
  }

  /// The words that start train with so many ranks, each with so many threads. 0: without mpirun.
  static std::vector<std::string> command(int ranks, int threads, const Arguments& arguments) {
    std::vector<std::string> words;
    if (ranks > 0) words = test::mpirun(ranks);
    words.push_back(test::program_path("train").string());
    words.insert(words.end(), {"--threads", std::to_string(threads)});
    words.insert(words.end(), arguments.begin(), arguments.end());
    return words;
  }
  /// Returns the words that start a program which has another file system in the place of a folder,
  /// as on another node; none if the system forbids it.
  std::vector<std::string> apart_from(const fs::path& folder) const {
    for (const char* namespaces : {"-m", "-rm"}) {
      const Arguments words = {"/usr/bin/env", "unshare", namespaces, "sh", "-c"};
      const auto and_then = [&](Arguments words, const std::string& folder, const char* command) {
        words.insert(words.end(),
                     {"mount -t tmpfs none \"$0\" && " + std::string(command), folder});
        return words;
      };
      if (test::Process(and_then(words, directory_.path(), "true"), {}, directory_.path())
              .wait(seconds(60)) == 0)
        return and_then(words, folder, "exec \"$@\"");
    }
    return {};
  }
  /// Returns the paths of all that is in a folder.
  static std::set<std::string> names_below(const fs::path& folder) {
    std::set<std::string> names;
    for (const auto& entry : fs::recursive_directory_iterator(folder)) names.insert(entry.path());
    return names;
  }
  int train(int ranks, int threads, const Arguments& arguments) const {
    return test::Process(command(ranks, threads, arguments), {}, directory_.path())
        .wait(seconds(300));
  }
  std::string errors() const { return read_file(directory_ / "stderr"); }
  fs::path metrics_of(const std::string& out) const { return directory_ / out / "metrics.jsonl"; }
  std::string weights(const std::string& out) const {
    return read_file(directory_ / out / "final_checkpoint" / "model.safetensors") +
           read_file(directory_ / out / "final_checkpoint" / "optimizer.safetensors");
  }
  /// Returns the losses of all steps and validations, as text.
  std::string losses(const std::string& out) const {
    std::ifstream file(metrics_of(out));
    std::string text;
    for (std::string line; std::getline(file, line);) {
      text += line.substr(0, line.find("\"tokens_per_second\""));
      text += '\n';
    }
    return text;
  }
  void expect_same_as_one_process(const Arguments& more) {
    ASSERT_EQ(train(0, 2, new_run("one", 10, more)), 0) << errors();
    for (const auto& [ranks, threads] : {std::pair(1, 1), {2, 1}, {2, 2}, {3, 1}, {4, 1}}) {
      SCOPED_TRACE(testing::Message() << ranks << " ranks of " << threads << " threads");
      const std::string out = "ranks" + std::to_string(ranks) + std::to_string(threads);
      ASSERT_EQ(train(ranks, threads, new_run(out, 10, more)), 0) << errors();
      EXPECT_TRUE(weights(out) == weights("one"));
      EXPECT_EQ(losses(out), losses("one"));
    }
  }
  /// Waits until the run has taken so many steps. Returns the ids of its processes.
  std::vector<pid_t> after_steps(const std::string& out, int64_t steps) const {
    for (int i = 0; i < 6000; ++i, std::this_thread::sleep_for(milliseconds(10))) {
      if (!fs::exists(metrics_of(out))) continue;
      const std::string text = read_file(metrics_of(out));
      if (std::ranges::count(text, '\n') >= steps) break;
    }
    return processes_of(out);
  }
  /// Returns the ids of the run's processes.
  std::vector<pid_t> processes_of(const std::string& out) const {
    return test::processes_of("train", (directory_ / out).string());
  }

  const test::TemporaryDirectory directory_;
};

TEST_F(Ranks, GiveTheSameWeights) { expect_same_as_one_process({}); }

TEST_F(Ranks, GiveTheSameWeightsWithCarriedStates) {
  expect_same_as_one_process({"--carry", "4", "--optimizer", "muon", "--average", "0.9"});
}

TEST_F(Ranks, GiveTheSameWeightsInBf16) {
  MMREC_NEEDS_BF16();
  expect_same_as_one_process({"--precision", "bf16"});
}

TEST_F(Ranks, ComputeInOnePrecision) {
  MMREC_NEEDS_BF16();
  const Arguments in_bf16 = {"--precision", "bf16"};
  const auto train_with_one_excluded = [&](int excluded, const std::string& out) {
    std::vector<std::string> words = command(1, 1, new_run(out, 3, in_bf16)),
                             second = command(0, 1, new_run(out, 3, in_bf16));
    const Arguments environment = {"/usr/bin/env", "MMREC_MAX_ISA=avx512"};
    std::vector<std::string>& one = excluded == 0 ? words : second;
    one.insert(std::ranges::find(one, test::program_path("train").string()), environment.begin(),
               environment.end());
    words.insert(words.end(), {":", "-n", "1"});
    words.insert(words.end(), second.begin(), second.end());
    return test::Process(words, {}, directory_.path()).wait(seconds(60));
  };
  EXPECT_EQ(train_with_one_excluded(1, "refused"), 2) << errors();
  for (const char* part : {"the ranks cannot train together", "rank 1 on ",
                           "the leader computes in bf16", "MMREC_MAX_ISA=avx512",
                           "--precision float32"})
    EXPECT_NE(errors().find(part), std::string::npos) << part << " is not in: " << errors();
  ASSERT_EQ(train_with_one_excluded(0, "fell back"), 0) << errors();
  ASSERT_EQ(train(0, 1, new_run("plain", 3)), 0) << errors();
  EXPECT_TRUE(weights("fell back") == weights("plain")) << "all follow the leader";
}

TEST_F(Ranks, GiveTheSameWeightsWithTheOptimizerSharded) {
  expect_same_as_one_process(
      {"--shard-optimizer", "--optimizer", "muon", "--average", "0.9", "--save-every", "4"});
}

TEST_F(Ranks, ResumeWithAnotherNumber) {
  ASSERT_EQ(train(0, 2, new_run("one", 12)), 0) << errors();
  for (const Arguments& more : {Arguments{}, {"--shard-optimizer"}}) {
    const std::string out = more.empty() ? "changed" : "sharded";
    Arguments until = more;
    until.insert(until.end(), {"--until", "4"});
    ASSERT_EQ(train(2, 1, new_run(out, 12, until)), 0) << errors();
    ASSERT_EQ(train(0, 1, resumed_run(out, {"--until", "7"})), 0) << errors();
    ASSERT_EQ(train(4, 1, resumed_run(out)), 0) << errors();
    EXPECT_TRUE(weights(out) == weights("one"));
  }
}

TEST_F(Ranks, AddFastToNearlyTheSame) {
  ASSERT_EQ(train(2, 1, new_run("fast", 10, {"--allreduce", "fast"})), 0) << errors();
  ASSERT_EQ(train(2, 1, new_run("tree", 10)), 0) << errors();
  EXPECT_EQ(losses("fast").substr(0, 40), losses("tree").substr(0, 40));
}

TEST_F(Ranks, MoreThanPartsAreRefused) {
  EXPECT_NE(train(2, 1, new_run("refused", 10, {}, 1)), 0);
  EXPECT_NE(errors().find("--accumulate 2 or more"), std::string::npos) << errors();
  EXPECT_FALSE(fs::exists(directory_ / "refused"));
}

TEST_F(Ranks, DivideTheWindowsOfANewRun) {
  const auto run = [&](const std::string& out) -> Arguments {
    return {"--data",          directory_ / "play.txt",
            "--out",           directory_ / out,
            "--set",           "dim=32",
            "--set",           "heads=2",
            "--set",           "layers=2",
            "--steps",         "10",
            "--seq",           "32",
            "--val-seq",       "64",
            "--sample-tokens", "0"};
  };
  Arguments given = run("given");
  given.insert(given.end(), {"--batch", "6", "--profile"});
  ASSERT_EQ(train(2, 1, given), 0) << errors();
  for (const char* said : {"--batch 3 --accumulate 2", "ranks: adding up the gradients took"})
    EXPECT_NE(read_file(directory_ / "stdout").find(said), std::string::npos) << said;
  ASSERT_EQ(train(3, 1, run("chosen")), 0) << errors();
}

TEST_F(Ranks, PrintAWrongCommandLineOnce) {
  EXPECT_NE(train(3, 1, new_run("refused", 10, {"--nonsense"})), 0);
  const std::string text = errors();
  const size_t first = text.find("error: ");
  EXPECT_NE(first, std::string::npos) << text;
  EXPECT_EQ(text.find("error: ", first + 1), std::string::npos) << text;
}

TEST_F(Ranks, NameTheOneWhoseCommandLineIsWrong) {
  const auto train_with = [&](const Arguments& first, const Arguments& second) {
    std::vector<std::string> words = command(1, 1, new_run("refused", 10, first)),
                             others = command(0, 1, new_run("refused", 10, second));
    words.insert(words.end(), {":", "-n", "1"});
    words.insert(words.end(), others.begin(), others.end());
    EXPECT_EQ(test::Process(words, {}, directory_.path()).wait(seconds(60)), 2);
    EXPECT_FALSE(fs::exists(directory_ / "refused"));
    return errors();
  };
  const fs::path missing = directory_ / "missing.toml", wrong = directory_ / "wrong.toml";
  std::ofstream(wrong) << "nonsense = 1\n";
  const std::string begin = "error: rank 1 on ", unread = ": --options: cannot read ";
  std::string text = train_with({}, {"--options", missing});
  EXPECT_NE(text.find(begin), std::string::npos) << text;
  EXPECT_NE(text.find(unread + missing.string()), std::string::npos) << text;
  text = train_with({"--options", wrong}, {"--options", missing});
  EXPECT_NE(text.find("error: rank 0 on "), std::string::npos) << text;
  EXPECT_NE(text.find(": unknown option nonsense"), std::string::npos) << text;
  EXPECT_NE(text.find("\nrank 1 on "), std::string::npos) << text;
  text = train_with({"--options", wrong}, {"--options", wrong});
  EXPECT_NE(text.find("error: unknown option nonsense"), std::string::npos) << text;
  EXPECT_EQ(text.find("unknown option", text.find("unknown option") + 1), std::string::npos)
      << text;
}

TEST_F(Ranks, RefuseAnSrunThatDoesNotConnectThem) {
  const auto train_with = [&](const Arguments& environment) {
    return test::Process(command(0, 1, new_run("run", 1)), environment, directory_.path())
        .wait(seconds(60));
  };
  EXPECT_EQ(train_with({"SLURM_PROCID=1", "SLURM_STEP_NUM_TASKS=2"}), 2);
  EXPECT_NE(errors().find("srun --mpi=pmix"), std::string::npos) << errors();
  EXPECT_FALSE(fs::exists(directory_ / "run"));
  // a batch script, and a step of one process
  EXPECT_EQ(train_with({"SLURM_PROCID=0", "SLURM_NTASKS=2", "SLURM_STEP_NUM_TASKS=1"}), 0);
}

TEST_F(Ranks, RefuseALauncherThatMpiDoesNotKnow) {
  for (const char* rank : {"0", "1"}) {
    const std::vector<std::string> environment = {"PMI_SIZE=2", std::string("PMI_RANK=") + rank};
    EXPECT_EQ(test::Process(command(0, 1, new_run("refused", 10)), environment, directory_.path())
                  .wait(seconds(60)),
              2);
    EXPECT_NE(errors().find("srun --mpi=pmix"), std::string::npos) << errors();
  }
}

/// Kills a random rank at a random moment, again and again, and goes on with another number of
/// them. MMREC_KILLS: how often.
TEST_F(Ranks, KilledOnesEndLikeAnUndisturbedRun) {
  const char* const given = std::getenv("MMREC_KILLS");
  const int kills = given ? std::atoi(given) : 3;
  const int64_t steps = 100 * (kills + 1);
  const Arguments saves = {"--save-every", "2"};
  std::mt19937 random(42);
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  for (int kill = 0; kill < kills; ++kill) {
    const int ranks = 2 + below(2);
    const Arguments arguments = kill == 0 ? new_run("killed", steps, saves) : resumed_run("killed");
    test::Process run(command(ranks, 1, arguments), {}, directory_.path());
    if (kill == 0) after_steps("killed", 5);  // then there is something to go on with
    std::this_thread::sleep_for(milliseconds(below(2000)));
    const std::vector<pid_t> processes = processes_of("killed");
    if (!processes.empty())
      ::kill(processes[static_cast<size_t>(below(static_cast<int>(processes.size())))], SIGKILL);
    run.wait(seconds(60));
  }
  ASSERT_EQ(train(2, 1, resumed_run("killed")), 0) << errors();
  ASSERT_EQ(train(0, 1, new_run("one", steps, saves)), 0) << errors();
  EXPECT_TRUE(weights("killed") == weights("one"));
  EXPECT_EQ(losses("killed"), losses("one"));
}

TEST_F(Ranks, SaveThemselvesWhenStopped) {
  constexpr int64_t kSteps = 1'000'000;
  {
    test::Process run(command(2, 1, new_run("stopped", kSteps)), {}, directory_.path());
    const std::vector<pid_t> processes = after_steps("stopped", 6);
    ASSERT_EQ(processes.size(), 2);
    for (const pid_t process : processes) ::kill(process, SIGINT);
    EXPECT_NE(run.wait(seconds(60)), 0);
  }
  EXPECT_TRUE(fs::exists(directory_ / "stopped" / "latest"));
}

TEST_F(Ranks, RefuseAFolderThatIsNotShared) {
  const std::vector<std::string> apart = apart_from(directory_ / "local");
  if (apart.empty()) GTEST_SKIP() << "this system lets nobody make a mount namespace (unshare -m)";
  fs::create_directory(directory_ / "local");
  const auto train_apart = [&](const Arguments& arguments) {
    std::vector<std::string> words = command(1, 1, arguments), second = command(0, 1, arguments);
    words.insert(words.end(), {":", "-n", "2"});
    words.insert(words.end(), apart.begin(), apart.end());
    words.insert(words.end(), second.begin(), second.end());
    EXPECT_EQ(test::Process(words, {}, directory_.path()).wait(seconds(60)), 2) << errors();
    EXPECT_NE(errors().find("is not seen by rank 1 on "), std::string::npos) << errors();
    EXPECT_NE(errors().find(", rank 2 on "), std::string::npos) << errors();
  };
  train_apart(new_run("local/run", 6));
  EXPECT_TRUE(fs::is_empty(directory_ / "local"));
  ASSERT_EQ(train(2, 1, new_run("local/run", 6, {"--until", "3"})), 0) << errors();
  const std::set<std::string> before = names_below(directory_ / "local");
  train_apart(resumed_run("local/run"));
  EXPECT_EQ(names_below(directory_ / "local"), before);
  EXPECT_EQ(train(2, 1, resumed_run("local/run")), 0) << errors();
}

TEST_F(Ranks, TakeTheLeadersFolderWhateverTheirOwnIs) {
  Arguments arguments = new_run("", 6);
  *(std::ranges::find(arguments, "--out") + 1) = "run";
  std::vector<std::string> words = command(1, 1, arguments), second = command(0, 1, arguments);
  for (const char* folder : {"a", "b"}) fs::create_directory(directory_ / folder);
  words.insert(words.begin() + 1, {"-wdir", directory_ / "a"});
  words.insert(words.end(), {":", "-n", "1", "-wdir", directory_ / "b"});
  words.insert(words.end(), second.begin(), second.end());
  EXPECT_EQ(test::Process(words, {}, directory_.path()).wait(seconds(60)), 0) << errors();
  EXPECT_TRUE(fs::exists(directory_ / "a" / "run" / "latest"));
  EXPECT_TRUE(fs::is_empty(directory_ / "b"));
}

#ifdef MMREC_FAILING_RANK
TEST_F(Ranks, EndAtOnceWhenOneFailsInAStep) {
  const fs::path fails = directory_ / "fails";
  for (const std::string failing : {"0", "1"}) {
    SCOPED_TRACE("rank " + failing);
    std::vector<std::string> words = command(3, 1, new_run("run" + failing, 1'000'000));
    words.insert(words.begin() + 1, {"-x", "LD_PRELOAD=" MMREC_FAILING_RANK});
    test::Process run(words, {"MMREC_FAILS=" + fails.string()}, directory_.path());
    after_steps("run" + failing, 3);
    std::ofstream(fails.string() + failing);
    EXPECT_EQ(run.wait(seconds(60)), 1);
    const std::string text = errors(), begin = "error: rank " + failing + " on ";
    const size_t error = text.find(begin);
    ASSERT_NE(error, std::string::npos) << text;
    EXPECT_NE(text.find(": not enough memory", error), std::string::npos) << text;
    EXPECT_EQ(text.find("error: ", error + begin.size()), std::string::npos) << text;
    fs::remove(fails.string() + failing);
  }
}
#endif

TEST_F(Ranks, SayWhatTheyRunOn) {
  const auto begins = [&](int threads_of_first, Arguments options) {
    Arguments arguments = new_run("run", 1, {"--overwrite"});
    std::erase(arguments, "--quiet");
    std::vector<std::string> words = command(1, threads_of_first, arguments);
    const std::vector<std::string> second = command(0, 1, arguments);
    words.insert(words.begin() + 1, options.begin(), options.end());
    words.insert(words.end(), {":", "-n", "1"});
    words.insert(words.end(), second.begin(), second.end());
    EXPECT_EQ(test::Process(words, {}, directory_.path()).wait(seconds(60)), 0) << errors();
    const std::string text = read_file(directory_ / "stdout");
    // mpirun gives the ranks a terminal, where what was shown meanwhile is erased
    const size_t erased = text.rfind("\x1b[K", text.find('\n'));
    return erased == std::string::npos ? text : text.substr(erased + 3);
  };
  const std::string one = begins(1, {});
  EXPECT_TRUE(one.starts_with("2 ranks on 1 node, 1 thread each, Open MPI ")) << one;
  EXPECT_EQ(one.find("ranks share cores") == std::string::npos,
            std::thread::hardware_concurrency() >= 2);
  EXPECT_TRUE(one.substr(0, one.find('\n')).ends_with(", shared memory")) << one;
  const std::string many = begins(500, {"--mca", "btl", "self,tcp"}),
                    line = many.substr(0, many.find('\n'));
  EXPECT_TRUE(many.starts_with("2 ranks on 1 node, 1 to 500 threads, Open MPI ")) << many;
  EXPECT_TRUE(line.ends_with(", tcp")) << many;
  EXPECT_NE(many.find(" has 501 threads on "), std::string::npos) << many;
}

TEST_F(Ranks, EndWhenOneHangs) {
  test::Process run(command(3, 1, new_run("hangs", 1'000'000)), {"MMREC_RANK_LIMIT=2"},
                    directory_.path());
  const std::vector<pid_t> processes = after_steps("hangs", 3);
  ASSERT_EQ(processes.size(), 3);
  ::kill(processes[2], SIGSTOP);
  EXPECT_NE(run.wait(seconds(60)), 0);
  EXPECT_NE(errors().find("has waited 2 s for the others"), std::string::npos) << errors();
}

}  // namespace
}  // namespace mmrec
