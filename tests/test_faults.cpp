// What the trainer leaves when it is killed, interrupted, or the disk fails.
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <random>
#include <set>
#include <thread>

#include "tests/overlay.h"
#include "tests/process.h"
#include "tests/temporary_directory.h"
#include "train/atomic_file.h"
#include "train/checkpoint.h"
#include "train/metrics.h"
#include "train/run_folder.h"

namespace mmrec {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using Arguments = std::vector<std::string>;

class Faults : public testing::Test {
 protected:
  Faults() { std::ofstream(directory_ / "play.txt") << read_file(fs::path(MMREC_SOURCE_DIR) / "data/tiny_shakespeare/input.txt").substr(0, 6000); }

  /// Arguments of a new run of a small model.
  Arguments new_run(const fs::path& out, int64_t steps, Arguments more = {}) const {
    Arguments arguments = {"--data", directory_ / "play.txt", "--out", out, "--steps", std::to_string(steps)};
    for (const char* field : {"dim=32", "layers=2", "heads=2", "mem_slots=64"}) arguments.insert(arguments.end(), {"--set", field});
    arguments.insert(arguments.end(),
                     {"--vocab", "auto", "--seq", "32", "--batch", "4", "--val-seq", "64", "--sample-tokens", "0", "--threads", "1"});
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  static Arguments resumed_run(const fs::path& out, Arguments more = {}) {
    more.insert(more.end(), {"--resume", "--out", out, "--threads", "1"});
    return more;
  }

  std::vector<std::string> command(const Arguments& arguments) const {
    std::vector<std::string> words = {(fs::path(MMREC_BINARY_DIR) / "train").string()};
    words.insert(words.end(), arguments.begin(), arguments.end());
    return words;
  }
  int train(const Arguments& arguments) const { return test::Process(command(arguments), {}, directory_.path()).wait(); }
  std::string errors() const { return read_file(directory_ / "stderr"); }
  std::string output() const { return read_file(directory_ / "stdout"); }
  void expect_errors(std::initializer_list<std::string_view> parts) const {
    for (const std::string_view part : parts) EXPECT_NE(errors().find(part), std::string::npos) << part << " is not in: " << errors();
  }

  static bool has_metrics(const fs::path& out, int64_t rows) {
    return fs::exists(out / "metrics.jsonl") && std::ranges::count(read_file(out / "metrics.jsonl"), '\n') >= rows;
  }
  static std::string read_line(const fs::path& file) {
    const std::string text = read_file(file);
    return text.substr(0, text.find('\n'));
  }
  static void wait_for_metrics(const fs::path& out, int64_t rows) {
    for (int waited = 0; waited < 60'000 && !has_metrics(out, rows); ++waited) std::this_thread::sleep_for(milliseconds(1));
  }

  /// Whatever has a checkpoint's name is a whole one.
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
    return std::ranges::any_of(fs::directory_iterator(out), [](const auto& entry) { return is_checkpoint_name(entry.path().filename().string()); });
  }

  static void expect_same_result(const fs::path& got, const fs::path& want) {
    for (const char* checkpoint : {"final_checkpoint", "best_model"})
      for (const char* file : {"model.safetensors", "optimizer.safetensors"})
        EXPECT_TRUE(read_file(got / checkpoint / file) == read_file(want / checkpoint / file)) << checkpoint << "/" << file;
    const std::vector<MetricsRow> rows = read_metrics(got / "metrics.jsonl"), want_rows = read_metrics(want / "metrics.jsonl");
    ASSERT_EQ(rows.size(), want_rows.size());
    for (size_t i = 0; i < rows.size(); ++i) {
      EXPECT_EQ(rows[i].step, want_rows[i].step) << "row " << i;
      EXPECT_EQ(rows[i].loss, want_rows[i].loss) << "row " << i;
    }
  }

  test::TemporaryDirectory directory_;
};

/// A variable in the environment makes it longer: MMREC_KILLS=100.
TEST_F(Faults, KilledAtAnyMomentARunEndsAsIfNothingHadHappened) {
  const char* wanted = std::getenv("MMREC_KILLS");
  const int kills = wanted ? std::atoi(wanted) : 10;
  const fs::path whole = directory_ / "whole", out = directory_ / "run";
  const int64_t steps = 100 * kills;
  const Arguments frequent = {"--eval-every", "25", "--patience", "0"};
  ASSERT_EQ(train(new_run(whole, steps, frequent)), 0) << errors();

  std::mt19937 random(1);
  Arguments first = frequent;
  first.insert(first.end(), {"--save-every", "2", "--keep", "2", "--overwrite"});
  int killed = 0, resumed = 0, begun = -1;  // the first start is no restart
  while (killed < kills) {
    const bool resumes = has_checkpoint(out);
    ++(resumes ? resumed : begun);
    test::Process process(command(resumes ? resumed_run(out) : new_run(out, steps, first)), {}, directory_.path());
    std::this_thread::sleep_for(milliseconds(random() % 400));
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
  EXPECT_EQ(read_file(out / "training_output.log").find("is passed over"), std::string::npos) << "each restart takes the newest checkpoint";
  fmt::print("{} kills, {} restarts resumed, {} began anew before the first checkpoint\n", killed, resumed, begun);
}

TEST_F(Faults, ASignalSavesAndTheLineThatIsPrintedGoesOn) {
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
  test::Process process(command(new_run(out, 1'000'000, {"--accumulate", "30", "--save-every", "0"})), {}, directory_.path());
  wait_for_metrics(out, 1);
  process.send(SIGSTOP);  // both are pending before the process can act on the first
  process.send(SIGTERM);
  process.send(SIGINT);
  process.send(SIGCONT);
  const int end = process.wait();
  EXPECT_TRUE(end == -SIGINT || end == -SIGTERM) << end;
  EXPECT_FALSE(has_checkpoint(out));
}

TEST_F(Faults, ASignalThatIsIgnoredStaysSo) {
  const fs::path out = directory_ / "run";
  std::string line = "trap '' HUP; exec \"$@\"";
  std::vector<std::string> words = {"/bin/sh", "-c", line, "sh"};
  for (const std::string& word : command(new_run(out, 500))) words.push_back(word);
  test::Process process(words, {}, directory_.path());
  wait_for_metrics(out, 1);
  process.send(SIGHUP);
  EXPECT_EQ(process.wait(), 0) << errors();
}

TEST_F(Faults, AFileThatMayNotGrowCostsNoCheckpoint) {
  const fs::path whole = directory_ / "whole", out = directory_ / "run";
  ASSERT_EQ(train(new_run(whole, 20)), 0) << errors();
  ASSERT_EQ(train(new_run(out, 10, {"--lr-min", "3e-5"})), 0) << errors();
  const std::string before = read_file(out / "final_checkpoint/model.safetensors");
  std::vector<std::string> words = {"/bin/sh", "-c", "ulimit -f 100; exec \"$@\"", "sh"};  // blocks of 512 bytes
  for (const std::string& word : command(resumed_run(out, {"--steps", "20", "--save-every", "2"}))) words.push_back(word);
  EXPECT_EQ(test::Process(words, {}, directory_.path()).wait(), 1);
  expect_errors({"error: cannot write", "checkpoint_step_000012", "ulimit -f"});
  expect_good_checkpoints(out);
  EXPECT_TRUE(read_file(out / "final_checkpoint/model.safetensors") == before);
  EXPECT_EQ(train(resumed_run(out)), 0) << errors();
  EXPECT_EQ(Checkpoint(out / "final_checkpoint").state.step, 10);
}

/// A file system of little room, as far as this process may mount one.
class SmallDisk {
 public:
  explicit SmallDisk(const fs::path& place) : place_(place) { fs::create_directory(place); }
  ~SmallDisk() { ::umount2(place_.c_str(), MNT_DETACH); }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;
  bool mount(int kibibytes) { return ::mount("tmpfs", place_.c_str(), "tmpfs", 0, fmt::format("size={}k", kibibytes).c_str()) == 0; }
  bool resize(int kibibytes, unsigned long flags = 0) {
    return ::mount("tmpfs", place_.c_str(), "tmpfs", MS_REMOUNT | flags, fmt::format("size={}k", kibibytes).c_str()) == 0;
  }

 private:
  fs::path place_;
};

TEST_F(Faults, OnceThereIsRoomAgainTheRunGoesOn) {
  SmallDisk disk(directory_ / "disk");
  if (!disk.mount(1500)) GTEST_SKIP() << "this process may not mount a file system: " << std::strerror(errno);  // a checkpoint takes about 570
  const fs::path whole = directory_ / "whole", out = directory_ / "disk/run";
  ASSERT_EQ(train(new_run(whole, 12)), 0) << errors();
  EXPECT_EQ(train(new_run(out, 12, {"--save-every", "2", "--keep", "9"})), 1);
  expect_errors(
      {"error: cannot write", "No space left on device", "free some space", "The last checkpoint is", "go on with", "train --resume --out"});
  expect_good_checkpoints(out);
  EXPECT_EQ(train(resumed_run(out)), 1) << "still full";
  expect_good_checkpoints(out);
  ASSERT_TRUE(disk.resize(100'000));
  ASSERT_EQ(train(resumed_run(out)), 0) << errors();
  expect_same_result(out, whole);
}

TEST_F(Faults, ADiskThatIsFullForTheFiguresCostsNoCheckpointEither) {
  SmallDisk disk(directory_ / "disk");
  if (!disk.mount(3000)) GTEST_SKIP() << "this process may not mount a file system: " << std::strerror(errno);
  const fs::path out = directory_ / "disk/run";
  ASSERT_EQ(train(new_run(out, 10)), 0) << errors();
  test::Process process(command(resumed_run(out, {"--steps", "1000000", "--save-every", "0", "--eval-every", "1000000"})), {}, directory_.path());
  wait_for_metrics(out, 15);
  {
    std::ofstream filler(directory_ / "disk/filler", std::ios::binary);
    while (filler << std::string(4096, 'x') << std::flush) {
    }
  }
  EXPECT_EQ(process.wait(), 1);
  expect_errors({"metrics.jsonl", "No space left on device", "free some space", "The last checkpoint is", "go on with", "train --resume --out"});
  expect_good_checkpoints(out);
}

TEST_F(Faults, AFolderThatCannotBeWrittenIsRefused) {
  SmallDisk disk(directory_ / "disk");
  if (!disk.mount(10'000)) GTEST_SKIP() << "this process may not mount a file system: " << std::strerror(errno);
  const fs::path out = directory_ / "disk/run";
  ASSERT_EQ(train(new_run(out, 4)), 0) << errors();
  ASSERT_TRUE(disk.resize(10'000, MS_RDONLY));
  EXPECT_EQ(train(new_run(directory_ / "disk/other", 4)), 1);
  expect_errors({"error: cannot create directory", "disk/other", "Read-only file system", "choose a place"});
  EXPECT_EQ(train(resumed_run(out, {"--steps", "8"})), 1);
  expect_errors({"error: cannot write", "disk/run", "Read-only file system"});
  expect_good_checkpoints(out);
}

TEST_F(Faults, AnErrorOfAnyKindIsInTheLogWithTheWayToGoOn) {
  const fs::path out = directory_ / "run";
  test::Process process(command(new_run(out, 1'000'000, {"--save-every", "0", "--eval-every", "1000000"})), {}, directory_.path());
  wait_for_metrics(out, 3);
  const rlimit no_more{1, 1};  // what is allocated stays; the first checkpoint takes more
  ASSERT_EQ(::prlimit(process.id(), RLIMIT_AS, &no_more, nullptr), 0);
  process.send(SIGTERM);
  ASSERT_EQ(process.wait(), 1);
  expect_errors({"error: not enough memory", "No checkpoint was written yet", "begin again with --overwrite"});
  EXPECT_NE(read_file(out / "training_output.log").find("error: not enough memory"), std::string::npos);
}

TEST_F(Faults, ARunKeepsToItsFolderWhenItsNameIsGivenAway) {
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
    for (int waited = 0; waited < 60'000 && !has_checkpoint(out); ++waited) std::this_thread::sleep_for(milliseconds(1));
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

  // What somebody copies from one run's folder into another's is not gone on with.
  const std::string foreign = read_line(moved / "latest");
  fs::copy(moved / foreign, out / "checkpoint_step_900000");
  test::Process resumed(command(resumed_run(out, {"--save-every", "5"})), {}, directory_.path());
  for (int waited = 0; waited < 60'000 && output().find("going on after") == std::string::npos; ++waited) std::this_thread::sleep_for(milliseconds(1));
  resumed.send(SIGTERM);
  EXPECT_EQ(resumed.wait(), 128 + SIGTERM) << errors();
  EXPECT_NE(output().find("is passed over: it is of another run"), std::string::npos) << output();
  EXPECT_EQ(Checkpoint(out / read_line(out / "latest")).state.seed, 2u);
}

TEST_F(Faults, ACheckpointIsReadWholeWhileItsRunReplacesIt) {
  const fs::path out = directory_ / "run";
  test::Process process(command(new_run(out, 1'000'000, {"--save-every", "1", "--keep", "1", "--eval-every", "1", "--patience", "0"})), {},
                        directory_.path());
  wait_for_metrics(out, 5);
  int read = 0;
  std::set<int64_t> steps;
  for (const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(3); std::chrono::steady_clock::now() < end; ++read) {
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

/// Each call of the program is killed at the next of its renames: none of them loses what there was.
TEST_F(Faults, OverwritingKilledAtAnyRenameLosesNothing) {
  const fs::path out = directory_ / "run";
  const auto hash = [](const fs::path& run) { return read_file(run / "final_checkpoint/model.safetensors"); };
  if (test::Process({"/bin/sh", "-c", "strace -V"}, {}, directory_.path()).wait() != 0) GTEST_SKIP() << "there is no strace";
  ASSERT_EQ(train(new_run(directory_ / "first", 2, {"--seed", "1"})), 0) << errors();
  ASSERT_EQ(train(new_run(directory_ / "second", 4, {"--seed", "2", "--save-every", "1"})), 0) << errors();
  const std::string first = hash(directory_ / "first"), second = hash(directory_ / "second");
  int killed = 0;
  for (const bool resumes : {false, true})
    for (int rename = 1; rename < 100; ++rename) {
      fs::remove_all(out);
      fs::copy(directory_ / "second", out, fs::copy_options::recursive);
      fs::copy(directory_ / "first", out / "previous", fs::copy_options::recursive);
      std::vector<std::string> words = {"strace", "-f", "-o", "/dev/null", "-e", "trace=renameat,renameat2,rename", "-e",
                                        fmt::format("inject=renameat,renameat2,rename:signal=KILL:when={}", rename)};
      for (const std::string& word : command(new_run(out, 2, {"--seed", "3", "--overwrite"}))) words.push_back(word);
      words.insert(words.begin(), {"/usr/bin/env"});
      const int end = test::Process(words, {}, directory_.path()).wait();
      if (end == 0) break;
      ASSERT_EQ(end, -SIGKILL) << errors();
      const bool half_moved = fs::exists(out / "previous.moving"), tidy = !half_moved && !fs::exists(out / "previous.replaced");
      if (tidy && hash(out / "previous") == second) break;  // from here on it is the new run that is killed
      ++killed;
      if (resumes && (half_moved || tidy)) {
        ASSERT_EQ(train(resumed_run(out)), 0) << "rename " << rename << ": " << errors();
        EXPECT_EQ(hash(out), second) << "rename " << rename;
        EXPECT_EQ(hash(out / "previous"), first) << "rename " << rename;
      } else {
        ASSERT_EQ(train(new_run(out, 2, {"--seed", "3", "--overwrite"})), 0) << "rename " << rename << ": " << errors();
        EXPECT_EQ(Checkpoint(out / "final_checkpoint").state.seed, 3u);
        EXPECT_EQ(hash(out / "previous"), second) << "rename " << rename;
      }
      EXPECT_FALSE(fs::exists(out / "previous.moving") || fs::exists(out / "previous.replaced")) << "rename " << rename;
    }
  EXPECT_GT(killed, 10);
  fmt::print("{} kills\n", killed);
}

TEST_F(Faults, InTheLowerLayerOfAnOverlayARunGoesOnAndIsOverwritten) {
  const fs::path base = directory_ / "base", out = base / "run", whole = directory_ / "whole";
  fs::create_directory(base);
  const Arguments often = {"--save-every", "2", "--keep", "2", "--eval-every", "4"};
  ASSERT_EQ(train(new_run(whole, 12, often)), 0) << errors();
  ASSERT_EQ(train(new_run(out, 12, often)), 0) << errors();
  const auto metrics_before = read_metrics(out / "metrics.jsonl").size();
  const test::TemporaryDirectory elsewhere;
  const test::Overlay overlay(base, elsewhere / "room");
  if (!overlay.mounted()) GTEST_SKIP() << "may not mount an overlay";
  ASSERT_EQ(train(resumed_run(out / "checkpoint_step_000010", {"--steps", "20"})), 0) << errors();  // sets aside, rotates, replaces
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

}  // namespace
}  // namespace mmrec
