// What the trainer leaves behind when it is killed, interrupted, or the disk fails.
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <thread>

#include "support/atomic_file.h"
#include "support/error.h"
#include "support/strict_json.h"
#include "tests/common/overlay.h"
#include "tests/common/process.h"
#include "tests/common/temporary_directory.h"
#include "train/run/checkpoint.h"
#include "train/run/folder.h"
#include "train/run/metrics.h"

namespace mmrec {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using Arguments = std::vector<std::string>;

class Faults : public testing::Test {
 protected:
  Faults() {
    std::ofstream(directory_ / "play.txt")
        << read_file(fs::path(MMREC_SOURCE_DIR) / "data/tiny_shakespeare/input.txt")
               .substr(0, 6000);
  }

  /// Arguments of a new run of a small model.
  Arguments new_run(const fs::path& out, int64_t steps, Arguments more = {}) const {
    Arguments arguments = {"--data",  directory_ / "play.txt", "--out", out,
                           "--steps", std::to_string(steps)};
    for (const char* field : {"dim=32", "layers=2", "heads=2", "mem_slots=64"})
      arguments.insert(arguments.end(), {"--set", field});
    arguments.insert(arguments.end(),
                     {"--vocab", "auto", "--seq", "32", "--batch", "4", "--val-seq", "64",
                      "--sample-tokens", "0", "--threads", "1"});
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  static Arguments resumed_run(const fs::path& out, Arguments more = {}) {
    more.insert(more.end(), {"--resume", "--out", out, "--threads", "1"});
    return more;
  }

  static std::vector<std::string> program(const std::string& name, const Arguments& arguments) {
    std::vector<std::string> words = {(fs::path(MMREC_BINARY_DIR) / name).string()};
    words.insert(words.end(), arguments.begin(), arguments.end());
    return words;
  }
  static std::vector<std::string> command(const Arguments& arguments) {
    return program("train", arguments);
  }
  int train(const Arguments& arguments) const {
    return test::Process(command(arguments), {}, directory_.path()).wait();
  }
  std::string errors() const { return read_file(directory_ / "stderr"); }
  std::string output() const { return read_file(directory_ / "stdout"); }
  void expect_errors(std::initializer_list<std::string_view> parts) const {
    for (const std::string_view part : parts)
      EXPECT_NE(errors().find(part), std::string::npos) << part << " is not in: " << errors();
  }

  static bool has_metrics(const fs::path& out, int64_t rows) {
    return fs::exists(out / "metrics.jsonl") &&
           std::ranges::count(read_file(out / "metrics.jsonl"), '\n') >= rows;
  }
  static std::string read_line(const fs::path& file) {
    const std::string text = read_file(file);
    return text.substr(0, text.find('\n'));
  }
  static void wait_for_metrics(const fs::path& out, int64_t rows) {
    for (int waited = 0; waited < 60'000 && !has_metrics(out, rows); ++waited)
      std::this_thread::sleep_for(milliseconds(1));
  }

  static void wait_for_checkpoint(const fs::path& out) {
    for (int waited = 0; waited < 60'000 && !has_checkpoint(out); ++waited)
      std::this_thread::sleep_for(milliseconds(1));
  }

  /// Everything with a checkpoint's name is a complete checkpoint.
  static void expect_good_checkpoints(const fs::path& out) {
    for (const fs::directory_entry& entry : fs::directory_iterator(out)) {
      const std::string name = entry.path().filename().string();
      if (!is_checkpoint_name(name)) continue;
      EXPECT_NO_THROW(Checkpoint(entry.path())) << name;
    }
    if (fs::exists(out / "latest")) {
      const std::string latest = read_file(out / "latest");
      EXPECT_TRUE(is_checkpoint_name(latest.substr(0, latest.size() - 1))) << latest;
    }
  }
  static bool has_checkpoint(const fs::path& out) {
    if (!fs::exists(out)) return false;
    return std::ranges::any_of(fs::directory_iterator(out), [](const auto& entry) {
      return is_checkpoint_name(entry.path().filename().string());
    });
  }

  static void expect_same_result(const fs::path& got, const fs::path& want) {
    for (const char* checkpoint : {"final_checkpoint", "best_model"})
      for (const char* file : {"model.safetensors", "optimizer.safetensors"})
        EXPECT_TRUE(read_file(got / checkpoint / file) == read_file(want / checkpoint / file))
            << checkpoint << "/" << file;
    const std::vector<MetricsRow> rows = read_metrics(got / "metrics.jsonl"),
                                  want_rows = read_metrics(want / "metrics.jsonl");
    ASSERT_EQ(rows.size(), want_rows.size());
    for (size_t i = 0; i < rows.size(); ++i) {
      EXPECT_EQ(rows[i].step, want_rows[i].step) << "row " << i;
      EXPECT_EQ(rows[i].loss, want_rows[i].loss) << "row " << i;
    }
  }

  test::TemporaryDirectory directory_;
};

/// MMREC_KILLS=100 in the environment makes it longer.
TEST_F(Faults, KilledAtAnyMomentARunEndsAsIfNothingHadHappened) {
  const char* wanted = std::getenv("MMREC_KILLS");
  const int kills = wanted ? std::atoi(wanted) : 10;
  const fs::path whole = directory_ / "whole", out = directory_ / "run";
  const int64_t steps = 100 * kills;
  const Arguments frequent = {"--eval-every", "25", "--patience", "0", "--carry", "3"};
  ASSERT_EQ(train(new_run(whole, steps, frequent)), 0) << errors();

  std::mt19937 random(1);
  Arguments first = frequent;
  first.insert(first.end(), {"--save-every", "2", "--keep", "2", "--overwrite"});
  int killed = 0, resumed = 0, begun = -1;  // the first start is not a restart
  milliseconds to_checkpoint{};             // from a start: how fast this build is on this machine
  while (killed < kills) {
    const bool resumes = has_checkpoint(out);
    ++(resumes ? resumed : begun);
    test::Process process(command(resumes ? resumed_run(out) : new_run(out, steps, first)), {},
                          directory_.path());
    if (killed == 0) {
      const auto begin = std::chrono::steady_clock::now();
      wait_for_checkpoint(out);
      to_checkpoint = std::chrono::ceil<milliseconds>(std::chrono::steady_clock::now() - begin);
    } else {
      std::this_thread::sleep_for(milliseconds(random() % (4 * to_checkpoint.count())));
    }
    process.send(SIGKILL);
    const int end = process.wait();
    ASSERT_EQ(end, -SIGKILL) << "life " << killed + 1 << " ended by itself: " << errors();
    ++killed;
    if (fs::exists(out)) expect_good_checkpoints(out);
  }
  ASSERT_TRUE(has_checkpoint(out));
  ASSERT_EQ(train(resumed_run(out, {"--save-every", "0"})), 0) << errors();
  ++resumed;
  expect_same_result(out, whole);
  EXPECT_EQ(read_file(out / "training_output.log").find("is passed over"), std::string::npos)
      << "each restart takes the newest checkpoint";
  fmt::print("{} kills, {} restarts resumed, {} began anew before the first checkpoint\n", killed,
             resumed, begun);
}

TEST_F(Faults, SignalSavesAndThePrintedCommandResumes) {
  const fs::path whole = directory_ / "whole", out = directory_ / "the run";
  constexpr int64_t kSteps = 2000;
  const Arguments seldom = {"--save-every", "0", "--eval-every", "500"};
  ASSERT_EQ(train(new_run(whole, kSteps, seldom)), 0) << errors();
  std::vector<std::string> words = command(new_run(out, kSteps, seldom));
  int64_t rows = 5;
  for (const int signal : {SIGINT, SIGTERM}) {
    {
      test::Process process(words, {}, directory_.path());
      wait_for_metrics(out, rows);
      process.send(signal);
      ASSERT_EQ(process.wait(), 128 + signal) << errors();
    }
    rows += 300;
    const std::string said = output();
    const size_t begin = said.find("to go on:\n  ");
    ASSERT_NE(begin, said.npos) << said;
    const std::string line = said.substr(begin + std::string("to go on:\n  ").size());
    words = {"/bin/sh", "-c", "exec " + line};
  }
  ASSERT_EQ(test::Process(words, {}, directory_.path()).wait(), 0) << errors();
  expect_same_result(out, whole);
}

TEST_F(Faults, ASecondSignalEndsAtOnce) {
  const fs::path out = directory_ / "run";
  test::Process process(
      command(new_run(out, 1'000'000, {"--accumulate", "30", "--save-every", "0"})), {},
      directory_.path());
  wait_for_metrics(out, 1);
  process.send(SIGSTOP);  // makes both signals pending before the process can react to the first
  process.send(SIGTERM);
  process.send(SIGINT);
  process.send(SIGCONT);
  const int end = process.wait();
  EXPECT_TRUE(end == -SIGINT || end == -SIGTERM) << end;
  EXPECT_FALSE(has_checkpoint(out));
}

TEST_F(Faults, IgnoredSignalStaysIgnored) {
  const fs::path out = directory_ / "run";
  std::string line = "trap '' HUP; exec \"$@\"";
  std::vector<std::string> words = {"/bin/sh", "-c", line, "sh"};
  for (const std::string& word : command(new_run(out, 500))) words.push_back(word);
  test::Process process(words, {}, directory_.path());
  wait_for_metrics(out, 1);
  process.send(SIGHUP);
  EXPECT_EQ(process.wait(), 0) << errors();
}

TEST_F(Faults, FileSizeLimitCostsNoCheckpoint) {
  const fs::path whole = directory_ / "whole", out = directory_ / "run";
  ASSERT_EQ(train(new_run(whole, 20)), 0) << errors();
  ASSERT_EQ(train(new_run(out, 10, {"--lr-min", "3e-5"})), 0) << errors();
  const std::string before = read_file(out / "final_checkpoint/model.safetensors");
  std::vector<std::string> words = {"/bin/sh", "-c", "ulimit -f 100; exec \"$@\"",
                                    "sh"};  // blocks of 512 bytes
  for (const std::string& word : command(resumed_run(out, {"--steps", "20", "--save-every", "2"})))
    words.push_back(word);
  EXPECT_EQ(test::Process(words, {}, directory_.path()).wait(), 1);
  expect_errors({"error: cannot write", "checkpoint_step_000012", "ulimit -f"});
  expect_good_checkpoints(out);
  EXPECT_TRUE(read_file(out / "final_checkpoint/model.safetensors") == before);
  EXPECT_EQ(train(resumed_run(out)), 0) << errors();
  EXPECT_EQ(Checkpoint(out / "final_checkpoint").state.step, 10);
}

/// A small file system, if this process may mount one.
class SmallDisk {
 public:
  explicit SmallDisk(const fs::path& place) : place_(place) { fs::create_directory(place); }
  ~SmallDisk() { ::umount2(place_.c_str(), MNT_DETACH); }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;
  bool mount(int kibibytes) {
    return ::mount("tmpfs", place_.c_str(), "tmpfs", 0,
                   fmt::format("size={}k", kibibytes).c_str()) == 0;
  }
  bool resize(int kibibytes, unsigned long flags = 0) {
    return ::mount("tmpfs", place_.c_str(), "tmpfs", MS_REMOUNT | flags,
                   fmt::format("size={}k", kibibytes).c_str()) == 0;
  }

 private:
  fs::path place_;
};

TEST_F(Faults, RunResumesWhenThereIsRoomAgain) {
  SmallDisk disk(directory_ / "disk");
  // a checkpoint takes about 570
  if (!disk.mount(1500))
    GTEST_SKIP() << "this process may not mount a file system: " << std::strerror(errno);
  const fs::path whole = directory_ / "whole", out = directory_ / "disk/run";
  ASSERT_EQ(train(new_run(whole, 12)), 0) << errors();
  EXPECT_EQ(train(new_run(out, 12, {"--save-every", "2", "--keep", "9"})), 1);
  expect_errors({"error: cannot write", "No space left on device", "free some space",
                 "The last checkpoint is", "go on with", "train --resume --out"});
  expect_good_checkpoints(out);
  EXPECT_EQ(train(resumed_run(out)), 1) << "still full";
  expect_good_checkpoints(out);
  ASSERT_TRUE(disk.resize(100'000));
  ASSERT_EQ(train(resumed_run(out)), 0) << errors();
  expect_same_result(out, whole);
}

TEST_F(Faults, FullDiskForMetricsCostsNoCheckpoint) {
  SmallDisk disk(directory_ / "disk");
  if (!disk.mount(3000))
    GTEST_SKIP() << "this process may not mount a file system: " << std::strerror(errno);
  const fs::path out = directory_ / "disk/run";
  ASSERT_EQ(train(new_run(out, 10)), 0) << errors();
  test::Process process(command(resumed_run(out, {"--steps", "1000000", "--save-every", "0",
                                                  "--eval-every", "1000000"})),
                        {}, directory_.path());
  wait_for_metrics(out, 15);
  {
    std::ofstream filler(directory_ / "disk/filler", std::ios::binary);
    while (filler << std::string(4096, 'x') << std::flush) {
    }
  }
  EXPECT_EQ(process.wait(), 1);
  expect_errors({"metrics.jsonl", "No space left on device", "free some space",
                 "The last checkpoint is", "go on with", "train --resume --out"});
  expect_good_checkpoints(out);
}

TEST_F(Faults, ReadOnlyFolderIsRefused) {
  SmallDisk disk(directory_ / "disk");
  if (!disk.mount(10'000))
    GTEST_SKIP() << "this process may not mount a file system: " << std::strerror(errno);
  const fs::path out = directory_ / "disk/run";
  ASSERT_EQ(train(new_run(out, 4)), 0) << errors();
  ASSERT_TRUE(disk.resize(10'000, MS_RDONLY));
  EXPECT_EQ(train(new_run(directory_ / "disk/other", 4)), 1);
  expect_errors(
      {"error: cannot create directory", "disk/other", "Read-only file system", "choose a place"});
  EXPECT_EQ(train(resumed_run(out, {"--steps", "8"})), 1);
  expect_errors({"error: cannot write", "disk/run", "Read-only file system"});
  expect_good_checkpoints(out);
}

TEST_F(Faults, EveryErrorIsLoggedWithTheResumeCommand) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "AddressSanitizer ends a program that has no memory";
#endif
  const fs::path out = directory_ / "run";
  test::Process process(
      command(new_run(out, 1'000'000, {"--save-every", "0", "--eval-every", "1000000"})), {},
      directory_.path());
  wait_for_metrics(out, 3);
  process.send(SIGSTOP);
  rlim_t pages = 0;
  std::ifstream(fmt::format("/proc/{}/statm", process.id())) >> pages;
  // not enough for the first checkpoint
  const rlim_t room = pages * static_cast<rlim_t>(::sysconf(_SC_PAGESIZE)) + 200'000;
  const rlimit no_more{room, room};
  ASSERT_EQ(::prlimit(process.id(), RLIMIT_AS, &no_more, nullptr), 0);
  process.send(SIGCONT);
  process.send(SIGTERM);
  ASSERT_EQ(process.wait(), 1);
  expect_errors({"error: not enough memory", "No checkpoint was written yet",
                 "begin again with --overwrite"});
  EXPECT_NE(read_file(out / "training_output.log").find("error: not enough memory"),
            std::string::npos);
}

TEST_F(Faults, RunStaysInItsFolderWhenTheNameIsReused) {
  const fs::path out = directory_ / "mm", moved = directory_ / "mm_old";
  const Arguments endless = {"--patience", "0", "--eval-every", "100000", "--seed"};
  const auto start = [&](const char* seed, const char* save_every) {
    Arguments more = endless;
    more.insert(more.end(), {seed, "--save-every", save_every});
    return command(new_run(out, 100'000, more));
  };
  test::Process first(start("1", "0"), {}, directory_.path());
  wait_for_metrics(out, 3);
  fs::rename(out, moved);
  fs::create_directory(directory_ / "second");
  {
    test::Process second(start("2", "5"), {}, directory_ / "second");
    wait_for_checkpoint(out);
    first.send(SIGTERM);
    EXPECT_EQ(first.wait(), 128 + SIGTERM) << errors();
    second.send(SIGKILL);
    second.wait();
  }
  EXPECT_NE(output().find("--resume --out " + moved.string()), std::string::npos) << output();
  ASSERT_TRUE(has_checkpoint(moved));
  EXPECT_EQ(Checkpoint(moved / read_line(moved / "latest")).state.seed, 1u);
  EXPECT_EQ(Checkpoint(out / read_line(out / "latest")).state.seed, 2u);
  for (const fs::directory_entry& entry : fs::directory_iterator(out)) {
    if (!is_checkpoint_name(entry.path().filename())) continue;
    EXPECT_EQ(Checkpoint(entry.path()).state.seed, 2u) << entry.path();
  }

  // A checkpoint copied from another run's folder is not resumed from.
  const std::string foreign = read_line(moved / "latest");
  fs::copy(moved / foreign, out / "checkpoint_step_900000");
  test::Process resumed(command(resumed_run(out, {"--save-every", "5"})), {}, directory_.path());
  for (int waited = 0; waited < 60'000 && output().find("going on after") == std::string::npos;
       ++waited)
    std::this_thread::sleep_for(milliseconds(1));
  resumed.send(SIGTERM);
  EXPECT_EQ(resumed.wait(), 128 + SIGTERM) << errors();
  EXPECT_NE(output().find("is passed over: it is of another run"), std::string::npos) << output();
  EXPECT_EQ(Checkpoint(out / read_line(out / "latest")).state.seed, 2u);
}

TEST_F(Faults, CheckpointIsReadInOneVersionWhileItIsReplaced) {
  const fs::path out = directory_ / "run";
  test::Process process(command(new_run(out, 1'000'000,
                                        {"--save-every", "1", "--keep", "1", "--eval-every", "1",
                                         "--patience", "0"})),
                        {}, directory_.path());
  wait_for_metrics(out, 5);
  int read = 0;
  std::set<int64_t> steps;
  for (const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(3);
       std::chrono::steady_clock::now() < end; ++read) {
    const Checkpoint best(out);
    Parameters parameters(best.config);
    best.read_weights(parameters);
    best.read_moments(parameters);
    steps.insert(best.state.step);
  }
  process.send(SIGKILL);
  process.wait();
  EXPECT_GT(read, 20);
  EXPECT_GT(steps.size(), 1u) << "it was replaced meanwhile";
}

/// Each call of the program is killed at its next rename. None of them loses anything.
TEST_F(Faults, OverwritingKilledAtAnyRenameLosesNothing) {
  const fs::path out = directory_ / "run";
  const auto hash = [](const fs::path& run) {
    return read_file(run / "final_checkpoint/model.safetensors");
  };
  if (test::Process({"/bin/sh", "-c", "strace -V"}, {}, directory_.path()).wait() != 0)
    GTEST_SKIP() << "there is no strace";
  ASSERT_EQ(train(new_run(directory_ / "first", 2, {"--seed", "1"})), 0) << errors();
  ASSERT_EQ(train(new_run(directory_ / "second", 4, {"--seed", "2", "--save-every", "1"})), 0)
      << errors();
  const std::string first = hash(directory_ / "first"), second = hash(directory_ / "second");
  int killed = 0;
  for (const bool resumes : {false, true})
    for (int rename = 1; rename < 100; ++rename) {
      fs::remove_all(out);
      fs::copy(directory_ / "second", out, fs::copy_options::recursive);
      fs::copy(directory_ / "first", out / "previous", fs::copy_options::recursive);
      std::vector<std::string> words = {
          "strace", "-f",
          "-o",     "/dev/null",
          "-e",     "trace=renameat,renameat2,rename",
          "-e",     fmt::format("inject=renameat,renameat2,rename:signal=KILL:when={}", rename)};
      for (const std::string& word : command(new_run(out, 2, {"--seed", "3", "--overwrite"})))
        words.push_back(word);
      words.insert(words.begin(), {"/usr/bin/env"});
      const int end = test::Process(words, {}, directory_.path()).wait();
      if (end == 0) break;
      ASSERT_EQ(end, -SIGKILL) << errors();
      const bool half_moved = fs::exists(out / "previous.moving"),
                 tidy = !half_moved && !fs::exists(out / "previous.replaced");
      // from here on the new run is the one killed
      if (tidy && hash(out / "previous") == second) break;
      ++killed;
      if (resumes && (half_moved || tidy)) {
        ASSERT_EQ(train(resumed_run(out)), 0) << "rename " << rename << ": " << errors();
        EXPECT_EQ(hash(out), second) << "rename " << rename;
        EXPECT_EQ(hash(out / "previous"), first) << "rename " << rename;
      } else {
        ASSERT_EQ(train(new_run(out, 2, {"--seed", "3", "--overwrite"})), 0)
            << "rename " << rename << ": " << errors();
        EXPECT_EQ(Checkpoint(out / "final_checkpoint").state.seed, 3u);
        EXPECT_EQ(hash(out / "previous"), second) << "rename " << rename;
      }
      EXPECT_FALSE(fs::exists(out / "previous.moving") || fs::exists(out / "previous.replaced"))
          << "rename " << rename;
    }
  EXPECT_GT(killed, 10);
  fmt::print("{} kills\n", killed);
}

TEST_F(Faults, RunInAnOverlaysLowerLayerResumesAndIsOverwritten) {
  const fs::path base = directory_ / "base", out = base / "run", whole = directory_ / "whole";
  fs::create_directory(base);
  const Arguments often = {"--save-every", "2", "--keep", "2", "--eval-every", "4"};
  ASSERT_EQ(train(new_run(whole, 12, often)), 0) << errors();
  ASSERT_EQ(train(new_run(out, 12, often)), 0) << errors();
  const auto metrics_before = read_metrics(out / "metrics.jsonl").size();
  const test::TemporaryDirectory elsewhere;
  const test::Overlay overlay(base, elsewhere / "room");
  if (!overlay.mounted()) GTEST_SKIP() << "may not mount an overlay";
  // sets aside, rotates, replaces
  ASSERT_EQ(train(resumed_run(out / "checkpoint_step_000010", {"--steps", "20"})), 0) << errors();
  EXPECT_EQ(Checkpoint(out / "final_checkpoint").state.step, 20);
  EXPECT_TRUE(fs::exists(out / "set_aside"));
  EXPECT_GT(read_metrics(out / "metrics.jsonl").size(), metrics_before);
  expect_good_checkpoints(out);
  Arguments again = often;
  again.push_back("--overwrite");
  ASSERT_EQ(train(new_run(out, 12, again)), 0) << errors();
  expect_same_result(out, whole);
  EXPECT_EQ(Checkpoint(out / "previous/final_checkpoint").state.step, 20);
  EXPECT_GT(read_metrics(out / "previous/metrics.jsonl").size(), metrics_before);
}

// ---------------------------------------------------------------------------------------- injected

/// Uses strace to fail a program's system calls, or to kill the program at one. Then checks what is
/// left and how it can continue. The call is drawn from those of an undisturbed run, with equal
/// probability for each kind of call and fault. MMREC_INJECTIONS=200 (per program) in the
/// environment makes it longer.
class InjectedFaults : public Faults {
 protected:
  using Contents = std::map<std::string, std::string>;

  /// All these functions report failures with EXPECT.
  struct Scenario {
    std::vector<std::string> words;             ///< the program and its arguments
    std::function<void()> begin;                ///< creates the initial state
    std::function<void()> expect_nothing_lost;  ///< checked right after the fault
    /// what a user does next, up to the result of the undisturbed run
    std::function<void()> go_on;
  };

  void SetUp() override {
    if (trace({"/bin/true"}, {}) != 0)
      GTEST_SKIP() << "strace is not installed, or may not trace here: " << errors();
  }

  void inject(const Scenario& scenario, int injections = 9) {
    scenario.begin();
    ASSERT_EQ(trace(scenario.words, {fmt::format("trace={}", fmt::join(kCalls, ","))}), 0)
        << errors();
    std::vector<Group> groups = possible_faults();
    std::mt19937 random(1);
    std::ranges::shuffle(groups, random);
    for (Group& group : groups) std::ranges::shuffle(group.numbers, random);

    const char* wanted = std::getenv("MMREC_INJECTIONS");
    int left = wanted ? std::atoi(wanted) : injections;
    for (bool any = true; any && left > 0;) {
      any = false;
      for (Group& group : groups) {
        if (group.numbers.empty() || left == 0) continue;
        any = true;
        --left;
        try_one(scenario, group, group.numbers.back());
        group.numbers.pop_back();
      }
    }
    Group all{.call = "all", .fault = "", .numbers = {}};
    const auto print = [&](const Group& group) {
      fmt::print("{:<8} {:<15} {:<12} {:>5} injections {:>3} lost {:>3} ended badly\n",
                 fs::path(scenario.words[0]).filename().string(), group.call, group.fault,
                 group.injections, group.lost, group.ended_badly);
    };
    std::ranges::sort(groups, {},
                      [](const Group& group) { return std::pair(group.call, group.fault); });
    for (const Group& group : groups) {
      if (group.injections == 0) continue;
      print(group);
      all.injections += group.injections;
      all.lost += group.lost;
      all.ended_badly += group.ended_badly;
    }
    print(all);
  }

  /// Runs a command that must succeed.
  void expect_done(const std::vector<std::string>& words) {
    EXPECT_EQ(test::Process(words, {}, directory_.path()).wait(), 0)
        << fmt::format("{}: {}", fmt::join(words, " "), errors());
  }

  /// Returns the files below a folder, by path.
  static Contents contents(const fs::path& folder) {
    Contents contents;
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder))
      if (entry.is_regular_file())
        contents[fs::relative(entry.path(), folder).string()] = read_file(entry.path());
    return contents;
  }

  /// Returns the largest step of a complete checkpoint of the run with this seed, or 0.
  static int64_t newest_step(const fs::path& out, uint64_t seed) {
    int64_t newest = 0;
    if (!fs::exists(out)) return newest;
    for (const fs::directory_entry& entry : fs::directory_iterator(out)) {
      if (!is_checkpoint_name(entry.path().filename().string())) continue;
      try {
        const Checkpoint checkpoint(entry.path());
        if (checkpoint.state.seed == seed) newest = std::max(newest, checkpoint.state.step);
      } catch (const Error&) {
      }
    }
    return newest;
  }

  static void remove_and_copy(const fs::path& from, const fs::path& to) {
    fs::remove_all(to);
    if (!from.empty()) fs::copy(from, to, fs::copy_options::recursive);
  }

 private:
  static constexpr std::string_view kCalls[] = {
      "rename", "renameat",  "renameat2",       "write",    "pwrite64", "fsync",
      "openat", "unlink",    "rmdir",           "unlinkat", "mkdir",    "mkdirat",
      "linkat", "ftruncate", "copy_file_range", "mmap"};

  /// System calls of one kind, counted from 1, and the fault for one of them.
  struct Group {
    std::string call, fault;
    std::vector<int> numbers;
    int injections = 0, lost = 0, ended_badly = 0;
  };

  static std::vector<std::string> faults_of(const std::string& call) {
    std::vector<std::string> faults = {"signal=KILL"};
    if (call == "mmap") {
#ifndef __SANITIZE_ADDRESS__  // whose own memory it would be
      faults.push_back("error=ENOMEM");
#endif
      return faults;
    }
    faults.push_back("error=EIO");
    if (call.starts_with("rename")) faults.push_back("error=EXDEV");
    if (call != "fsync" && !call.starts_with("unlink") && call != "rmdir")
      faults.push_back("error=ENOSPC");
    return faults;
  }

  int trace(const std::vector<std::string>& words, const std::vector<std::string>& expressions) {
    std::vector<std::string> traced = {"/usr/bin/strace", "-qq", "-o", directory_ / "trace"};
    for (const std::string& expression : expressions)
      traced.insert(traced.end(), {"-e", expression});
    traced.insert(traced.end(), words.begin(), words.end());
    // LeakSanitizer needs ptrace, which strace already uses
    return test::Process(traced, {"ASAN_OPTIONS=detect_leaks=0"}, directory_.path())
        .wait(milliseconds(60'000));
  }

  /// Returns whether a call maps less than malloc itself maps for the program. Such calls belong to
  /// the start of system libraries.
  static bool maps_little(std::string_view line) {
    const size_t size = line.find(", ");
    return line.starts_with("mmap(") && size != line.npos &&
           std::atol(line.data() + size + 2) < 128 * 1024;
  }

  /// Returns the calls of the traced run after the libraries were loaded.
  std::vector<Group> possible_faults() const {
    const std::string log = read_file(directory_ / "trace");
    const std::vector<std::string_view> lines = whole_lines(log);
    std::map<std::string, std::vector<int>> numbers;
    std::map<std::string, int> count;
    for (const std::string_view line : lines) {
      const std::string call(line.substr(0, line.find('(')));
      if (line.find(".so") != line.npos || line.find("MAP_DENYWRITE") != line.npos) numbers.clear();
      if (std::ranges::find(kCalls, call) == std::end(kCalls)) continue;
      ++count[call];
      if (!maps_little(line)) numbers[call].push_back(count[call]);
    }
    std::vector<Group> groups;
    for (const auto& [call, those] : numbers)
      for (const std::string& fault : faults_of(call)) groups.push_back({call, fault, those});
    return groups;
  }

  void try_one(const Scenario& scenario, Group& group, int number) {
    const auto failures = [] {
      return testing::UnitTest::GetInstance()->current_test_info()->result()->total_part_count();
    };
    int before = failures();
    scenario.begin();
    const int code = trace(scenario.words,
                           {"trace=" + group.call,
                            fmt::format("inject={}:{}:when={}", group.call, group.fault, number)});
    const std::string calls = read_file(directory_ / "trace");
    std::string where = calls;
    for (const std::string_view line : whole_lines(calls))
      if (group.fault == "signal=KILL" || line.find("(INJECTED)") != line.npos) where = line;
    const testing::ScopedTrace trace(__FILE__, __LINE__,
                                     fmt::format("{} {} {}: {}\nthe program said: {}", group.call,
                                                 group.fault, number, where, errors()));
    if (group.fault == "signal=KILL") {
      // 0: the program made fewer calls this time
      EXPECT_TRUE(code == -SIGKILL || code == 0) << code;
    } else {
      EXPECT_TRUE(code == 0 || code == 1) << code;
      const bool silenced = where.starts_with("write(2,");
      if (code == 1 && !silenced) expect_errors({"error: "});
      EXPECT_EQ(errors().find("terminate called"), std::string::npos);
    }
    ++group.injections;
    group.ended_badly += failures() > before;
    before = failures();
    scenario.expect_nothing_lost();
    scenario.go_on();
    group.lost += failures() > before;
  }
};

TEST_F(InjectedFaults, NewRun) {
  const fs::path whole = directory_ / "whole", out = directory_ / "run";
  const Arguments often = {"--save-every", "2", "--keep",     "2",
                           "--eval-every", "4", "--patience", "0"};
  Arguments again = often;
  again.push_back("--overwrite");
  ASSERT_EQ(train(new_run(whole, 12, often)), 0) << errors();
  inject({.words = command(new_run(out, 12, often)),
          .begin = [&] { fs::remove_all(out); },
          .expect_nothing_lost =
              [&] {
                if (!fs::exists(out)) return;
                expect_good_checkpoints(out);
                const fs::path figures = out / "metrics.jsonl";
                const int64_t steps = fs::exists(figures) && fs::file_size(figures) > 0
                                          ? read_metrics(figures).back().step
                                          : 0;
                EXPECT_GE(newest_step(out, 42), std::max<int64_t>(steps - 1, 0) / 2 * 2)
                    << "of " << steps << " steps";
              },
          .go_on =
              [&] {
                expect_done(
                    command(has_checkpoint(out) ? resumed_run(out) : new_run(out, 12, again)));
                expect_same_result(out, whole);
              }});
}

TEST_F(InjectedFaults, OverwritingRun) {
  const fs::path whole = directory_ / "whole", earlier = directory_ / "earlier",
                 out = directory_ / "run";
  const Arguments often = {"--save-every", "2", "--seed", "7", "--overwrite"};
  ASSERT_EQ(train(new_run(whole, 8, often)), 0) << errors();
  ASSERT_EQ(train(new_run(earlier, 3, {"--save-every", "1"})), 0) << errors();
  const Contents before = contents(earlier);
  const auto expect_everything_in = [&](const fs::path& folder) {
    for (const auto& [name, bytes] : before)
      EXPECT_TRUE(fs::exists(folder / name) && read_file(folder / name) == bytes)
          << name << " is lost";
  };
  inject({.words = command(new_run(out, 8, often)),
          .begin = [&] { remove_and_copy(earlier, out); },
          .expect_nothing_lost =
              [&] {  // in the folder, in `previous`, or between them until the next start
                const Contents now = contents(out);
                for (const auto& [name, bytes] : before)
                  EXPECT_TRUE(std::ranges::any_of(
                      now,
                      [&](const auto& file) {
                        return ("/" + file.first).ends_with("/" + name) && file.second == bytes;
                      }))
                      << name << " is lost";
              },
          .go_on =
              [&] {
                expect_done(
                    command(newest_step(out, 7) > 0 ? resumed_run(out) : new_run(out, 8, often)));
                expect_same_result(out, whole);
                expect_everything_in(out / "previous");
              }},
         20);
}

TEST_F(InjectedFaults, ResumedRun) {
  const fs::path whole = directory_ / "whole", earlier = directory_ / "earlier",
                 out = directory_ / "run";
  ASSERT_EQ(train(new_run(earlier, 6, {"--save-every", "2"})), 0) << errors();
  const Arguments more = {"--steps", "12", "--save-every", "2", "--keep", "2"};
  remove_and_copy(earlier, whole);
  ASSERT_EQ(train(resumed_run(whole, more)), 0) << errors();
  inject({.words = command(resumed_run(out, more)),
          .begin = [&] { remove_and_copy(earlier, out); },
          .expect_nothing_lost =
              [&] {
                expect_good_checkpoints(out);
                EXPECT_GE(newest_step(out, 42), 6);
              },
          .go_on =
              [&] {
                expect_done(command(resumed_run(out, more)));
                expect_same_result(out, whole);
              }});
}

TEST_F(InjectedFaults, PreparedFolder) {
  const fs::path place = directory_ / "place", out = place / "data",
                 template_folder = directory_ / "template";
  for (const bool is_there : {false, true}) {
    fs::remove_all(place);
    fs::create_directory(place);
    Contents earlier;
    if (is_there) {  // with another split
      expect_done(program("prepare", {"--input-file", directory_ / "play.txt", "--val-split", "0.3",
                                      "--out", out}));
      earlier = contents(out);
    }
    remove_and_copy(place, template_folder);
    const std::vector<std::string> words = program(
        "prepare", {"--input-file", directory_ / "play.txt", "--val-split", "0.1", "--out", out});
    expect_done(words);
    const Contents whole = contents(place), result = contents(out);
    inject({.words = words,
            .begin = [&] { remove_and_copy(template_folder, place); },
            .expect_nothing_lost =
                [&] {
                  const Contents now = fs::exists(out) ? contents(out) : Contents{};
                  EXPECT_TRUE(now == earlier || now == result)
                      << "it is neither whole nor as before";
                },
            .go_on =
                [&] {
                  expect_done(words);
                  EXPECT_TRUE(contents(place) == whole)
                      << "something else is there than after an undisturbed run";
                }});
  }
}

TEST_F(InjectedFaults, Search) {
  const fs::path out = directory_ / "search";
  Arguments arguments = {"--data",    directory_ / "play.txt",
                         "--grid",    "lr=1e-3,1e-2",
                         "--steps",   "3",
                         "--out",     out,
                         "--threads", "1",
                         "--"};
  for (const char* field : {"dim=32", "layers=2", "heads=2", "mem_slots=64"})
    arguments.insert(arguments.end(), {"--set", field});
  arguments.insert(arguments.end(),
                   {"--vocab", "auto", "--seq", "32", "--batch", "4", "--val-seq", "64"});
  const std::vector<std::string> words = program("search", arguments);
  // an experiment whose files could not be read counts as failed
  arguments.insert(arguments.begin(), "--retry-failed");
  const std::vector<std::string> again = program("search", arguments);
  const auto losses = [&] {
    std::map<std::string, double> losses;
    const std::string text =
        fs::exists(out / "results.jsonl") ? read_file(out / "results.jsonl") : "";
    for (const std::string_view line : whole_lines(text)) {
      const nlohmann::json row = parse_json(line, "results.jsonl");
      if (row.at("error") == "") losses[row.at("folder")] = row.at("validation_loss");
    }
    return losses;
  };
  expect_done(words);
  const std::map<std::string, double> whole = losses();
  const std::string best = read_file(out / "best.toml");
  ASSERT_EQ(whole.size(), 2);
  inject({.words = words,
          .begin = [&] { fs::remove_all(out); },
          .expect_nothing_lost =
              [&] {
                for (const auto& [folder, loss] : losses())
                  EXPECT_EQ(loss, whole.at(folder)) << folder;
              },
          .go_on =
              [&] {
                expect_done(again);
                EXPECT_EQ(losses(), whole);
                EXPECT_EQ(read_file(out / "best.toml"), best);
              }});
}

/// An experiment that fails at a rung is among the worse there, and a worse one may go on in its
/// place. Done again, it goes on all the same, and is the best.
TEST_F(InjectedFaults, SearchThatStopsEarly) {
  const fs::path out = directory_ / "search";
  Arguments arguments = {"--data",         directory_ / "play.txt",
                         "--grid",         "lr=1e-3,1e-2",
                         "--steps",        "4",
                         "--out",          out,
                         "--threads",      "1",
                         "--stop-early=4", "--"};
  for (const char* field : {"dim=32", "layers=2", "heads=2", "mem_slots=64"})
    arguments.insert(arguments.end(), {"--set", field});
  arguments.insert(arguments.end(),
                   {"--vocab", "auto", "--seq", "32", "--batch", "4", "--val-seq", "64"});
  const std::vector<std::string> words = program("search", arguments);
  arguments.insert(arguments.begin(), "--retry-failed");
  const std::vector<std::string> again = program("search", arguments);
  // by experiment and step
  const auto losses = [&] {
    std::map<std::pair<std::string, int>, double> losses;
    const std::string text =
        fs::exists(out / "results.jsonl") ? read_file(out / "results.jsonl") : "";
    for (const std::string_view line : whole_lines(text)) {
      const nlohmann::json row = parse_json(line, "results.jsonl");
      if (row.at("error") == "")
        losses[{row.at("folder"), row.at("steps")}] = row.at("validation_loss");
    }
    return losses;
  };
  expect_done(words);
  const auto whole = losses();
  const std::string best = read_file(out / "best.toml");
  ASSERT_EQ(whole.size(), 3);
  const auto expect_the_same = [&] {
    const auto now = losses();
    for (const auto& [place, loss] : whole)
      if (now.contains(place)) {
        EXPECT_EQ(now.at(place), loss) << place.first << " " << place.second;
      }
  };
  inject({.words = words,
          .begin = [&] { fs::remove_all(out); },
          .expect_nothing_lost = expect_the_same,
          .go_on =
              [&] {
                expect_done(again);
                expect_the_same();
                for (const auto& [place, loss] : whole) EXPECT_TRUE(losses().contains(place));
                EXPECT_EQ(read_file(out / "best.toml"), best);
              }});
}

TEST_F(InjectedFaults, ReportPage) {
  const fs::path run = directory_ / "run", page = directory_ / "page.html";
  ASSERT_EQ(train(new_run(run, 4)), 0) << errors();
  const std::vector<std::string> words = program("report", {run, "--html", page});
  expect_done(words);
  // enough to tell a page from other files
  const std::string whole = read_file(page), earlier = whole.substr(0, whole.size() / 2);
  inject({.words = words,
          .begin = [&] { std::ofstream(page) << earlier; },
          .expect_nothing_lost =
              [&] {
                EXPECT_TRUE(read_file(page) == earlier || read_file(page) == whole)
                    << read_file(page);
              },
          .go_on =
              [&] {
                expect_done(words);
                EXPECT_TRUE(read_file(page) == whole);
              }});
}

}  // namespace
}  // namespace mmrec
