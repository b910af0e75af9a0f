// Searches with several processes that mpirun starts.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "support/atomic_file.h"
#include "tests/common/mpirun.h"
#include "tests/common/process.h"
#include "tests/common/temporary_directory.h"

namespace mmrec {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::seconds;
using Arguments = std::vector<std::string>;

class SearchRanks : public testing::Test {
 protected:
  SearchRanks() { test::write_play(directory_ / "play.txt"); }

  /// The words that start a search with so many ranks; 0: without mpirun.
  std::vector<std::string> command(int ranks, const std::string& out, const Arguments& grids,
                                   const std::string& steps, const Arguments& more = {}) const {
    std::vector<std::string> words;
    if (ranks > 0) words = test::mpirun(ranks);
    words.push_back(test::program_path("search").string());
    const Arguments rest = arguments(directory_ / out, grids, steps, more);
    words.insert(words.end(), rest.begin(), rest.end());
    return words;
  }
  Arguments arguments(const std::string& out, const Arguments& grids, const std::string& steps,
                      const Arguments& more) const {
    Arguments words;
    for (const std::string& grid : grids) words.push_back("--grid=" + grid);
    words.insert(words.end(), more.begin(), more.end());
    words.insert(words.end(), {"--out", out, "--threads", "1", "--data",
                               (directory_ / "play.txt").string(), "--steps", steps, "--"});
    for (const char* word :
         {"--set", "dim=32", "--set", "layers=2", "--set", "heads=2", "--set", "mem_slots=64",
          "--vocab", "auto", "--batch=4", "--seq=32", "--warmup", "1"})
      words.emplace_back(word);
    return words;
  }
  int run(const std::vector<std::string>& words, const Arguments& environment = {}) const {
    return test::Process(words, environment, directory_.path()).wait(seconds(300));
  }
  std::string errors() const { return read_file(directory_ / "stderr"); }

  /// Returns the results, but for the time and the order that they came in.
  std::multiset<std::string> results(const std::string& out) const {
    std::multiset<std::string> rows;
    const fs::path file = directory_ / out / "results.jsonl";
    std::istringstream lines(fs::exists(file) ? read_file(file) : "");
    for (std::string line; std::getline(lines, line);) {
      nlohmann::json row = nlohmann::json::parse(line);
      row.erase("seconds");
      rows.insert(row.dump());
    }
    return rows;
  }
  void expect_same(const std::string& out, const std::string& other) const {
    EXPECT_EQ(results(out), results(other));
    EXPECT_EQ(read_file(directory_ / out / "best.toml"),
              read_file(directory_ / other / "best.toml"));
    for (const auto& entry : fs::directory_iterator(directory_ / other / "experiments"))
      if (const fs::path weights = "final_checkpoint/model.safetensors";
          fs::exists(entry.path() / weights)) {
        const std::string name = entry.path().filename();
        EXPECT_TRUE(read_file(directory_ / out / "experiments" / name / weights) ==
                    read_file(entry.path() / weights))
            << name;
      }
  }

  static void wait_until(const std::function<bool()>& holds) {
    for (int i = 0; i < 6000 && !holds(); ++i) std::this_thread::sleep_for(milliseconds(10));
    ASSERT_TRUE(holds());
  }
  std::vector<pid_t> experiments(const std::string& out) const {
    return test::processes_of("train", (directory_ / out).string());
  }
  std::vector<pid_t> ranks(const std::string& out) const {
    return test::processes_of("search", (directory_ / out).string());
  }
  int64_t steps(const std::string& out, const std::string& experiment) const {
    const fs::path file = directory_ / out / "experiments" / experiment / "metrics.jsonl";
    return fs::exists(file) ? std::ranges::count(read_file(file), '\n') : 0;
  }
  /// Waits until these experiments have all taken more steps than they have now.
  void wait_for_steps(const std::string& out, const std::vector<std::string>& names) const {
    std::vector<int64_t> wanted;
    for (const std::string& name : names) wanted.push_back(steps(out, name) + 3);
    wait_until([&] {
      for (size_t i = 0; i < names.size(); ++i)
        if (steps(out, names[i]) < wanted[i]) return false;
      return true;
    });
  }
  static std::string status_of(pid_t process, const std::string& name) {
    std::ifstream file("/proc/" + std::to_string(process) + "/status");
    for (std::string line; std::getline(file, line);)
      if (line.starts_with(name + ":")) return line.substr(name.size() + 2);
    return "";
  }
  static bool is_stopped(pid_t process) { return status_of(process, "State").starts_with("T"); }
  pid_t leader(const std::string& out) const {
    for (const pid_t rank : ranks(out))
      if (test::about_process("/proc/" + std::to_string(rank), "environ")
              .find("OMPI_COMM_WORLD_RANK=0") != std::string::npos)
        return rank;
    ADD_FAILURE() << "no rank 0";
    return 0;
  }

  fs::path copy_of_search(const std::string& folder) const {
    fs::create_directory(directory_ / folder);
    fs::copy_file(test::program_path("search"), directory_ / folder / "search");
    return directory_ / folder / "search";
  }
  /// A script knows its folder as $here.
  void write_script(const fs::path& file, const std::string& text) const {
    std::ofstream(directory_ / file) << "#!/bin/bash\nhere=${0%/*}\n" << text << "\n";
    fs::permissions(directory_ / file, fs::perms::owner_all);
  }
  /// The words that start a program and working folder for rank 0, and others for rank 1. --out is
  /// relative.
  std::vector<std::string> two_places(const fs::path& first, const fs::path& first_folder,
                                      const fs::path& second, const fs::path& second_folder) const {
    std::vector<std::string> words = test::mpirun(1);
    const Arguments rest = arguments("search", {"lr=1e-3,3e-3"}, "5", {});
    words.insert(words.end(), {"-wdir", first_folder.string(), first.string()});
    words.insert(words.end(), rest.begin(), rest.end());
    words.insert(words.end(), {":", "-n", "1", "-wdir", second_folder.string(), second.string()});
    words.insert(words.end(), rest.begin(), rest.end());
    return words;
  }
  void expect_error(const std::vector<std::string>& parts) const {
    for (const std::string& part : parts)
      EXPECT_NE(errors().find(part), std::string::npos) << part << " in:\n" << errors();
  }

  const test::TemporaryDirectory directory_;
};

const Arguments kTwo = {"lr=1e-3,3e-3"};
const std::vector<std::string> kTwoNames = {"lr=1e-3", "lr=3e-3"};

TEST_F(SearchRanks, FindWhatOneProcessFinds) {
  const Arguments grids = {"lr=1e-5,1e-3,1e-2", "optimizer=adamw,none"};
  ASSERT_EQ(run(command(0, "one", grids, "5")), 0) << errors();
  EXPECT_EQ(results("one").size(), 6u);
  for (const int ranks : {1, 2, 3}) {
    SCOPED_TRACE(ranks);
    const std::string out = "ranks" + std::to_string(ranks);
    ASSERT_EQ(run(command(ranks, out, grids, "5", {"--jobs", "2"})), 0) << errors();
    expect_same(out, "one");
    for (const auto& entry : fs::directory_iterator(directory_ / out))
      EXPECT_FALSE(entry.path().filename().string().starts_with(".")) << entry.path();
  }
}

TEST_F(SearchRanks, GoOnWithAnotherNumber) {
  const auto search = [&](int ranks, const std::string& out, const std::string& rates) {
    return run(command(ranks, out, {"lr=" + rates}, "40", {"--stop-early"}));
  };
  ASSERT_EQ(search(0, "one", "1e-5,1e-4,1e-3,1e-2"), 0) << errors();
  ASSERT_EQ(search(2, "changed", "1e-5,1e-2"), 0) << errors();
  ASSERT_EQ(search(0, "changed", "1e-5,1e-4,1e-2"), 0) << errors();
  ASSERT_EQ(search(3, "changed", "1e-5,1e-4,1e-3,1e-2"), 0) << errors();
  EXPECT_EQ(read_file(directory_ / "changed/best.toml"), read_file(directory_ / "one/best.toml"));
  const std::multiset<std::string> all = results("changed");
  for (const std::string& row : results("one")) EXPECT_TRUE(all.contains(row)) << row;
}

/// As processes that are no ranks, and on the cores of their rank.
TEST_F(SearchRanks, EachRunExperimentsOfTheirOwn) {
  test::Process search(command(2, "long", kTwo, "1000000"), {"SLURM_STEP_NUM_TASKS=2"},
                       directory_.path());
  wait_for_steps("long", kTwoNames);
  std::set<std::string> parents;
  for (const pid_t experiment : experiments("long")) {
    const std::string environment = read_file("/proc/" + std::to_string(experiment) + "/environ");
    for (const char* variable : {"OMPI_COMM_WORLD_RANK", "PMIX_", "PMI_", "SLURM_STEP_"})
      EXPECT_EQ(environment.find(variable), std::string::npos) << variable;
    const std::string parent = status_of(experiment, "PPid");
    parents.insert(parent);
    EXPECT_EQ(status_of(experiment, "Cpus_allowed_list"),
              status_of(std::stoi(parent), "Cpus_allowed_list"));
  }
  EXPECT_EQ(parents.size(), 2u);
}

TEST_F(SearchRanks, SaveTheirExperimentsWhenStopped) {
  ASSERT_EQ(run(command(0, "one", kTwo, "1000")), 0) << errors();
  {
    test::Process search(command(2, "stopped", kTwo, "1000"), {}, directory_.path());
    wait_for_steps("stopped", kTwoNames);
    ::kill(leader("stopped"), SIGTERM);
    EXPECT_NE(search.wait(seconds(60)), 0);
  }
  EXPECT_TRUE(experiments("stopped").empty()) << "they are waited for";
  EXPECT_NE(read_file(directory_ / "stdout").find("the same command goes on"), std::string::npos);
  for (const std::string& name : kTwoNames)
    EXPECT_TRUE(fs::exists(directory_ / "stopped/experiments" / name / "latest")) << name;
  ASSERT_EQ(run(command(0, "stopped", kTwo, "1000")), 0) << errors();
  expect_same("stopped", "one");
}

/// mpirun kills the ranks a second after it has told them to stop. Experiments that take longer for
/// their states, here scripts that wait for just that, are not disturbed.
TEST_F(SearchRanks, LetTheirExperimentsSaveWhenMpirunKillsThem) {
  const fs::path search = copy_of_search("programs");
  write_script("programs/train", R"(
trap : PIPE
stops=0
trap 'stops=$((stops + 1)); [ $stops = 1 ] || exit 1' TERM
touch "$here/started-$$"
while [ $stops = 0 ]; do sleep 0.05; done
while kill -0 $PPID; do sleep 0.05; done
sleep 0.3
touch "$here/saved-$$")");
  const auto count = [&](const std::string& name) {
    return std::ranges::count_if(fs::directory_iterator(directory_ / "programs"),
                                 [&](const fs::directory_entry& entry) {
                                   return entry.path().filename().string().starts_with(name);
                                 });
  };
  std::vector<std::string> words = test::mpirun(2);
  words.push_back(search.string());
  const Arguments rest = arguments(directory_ / "search", kTwo, "5", {});
  words.insert(words.end(), rest.begin(), rest.end());
  test::Process process(words, {}, directory_.path());
  wait_until([&] { return count("started-") == 2; });
  process.send(SIGTERM);
  EXPECT_NE(process.wait(seconds(60)), 0);
  EXPECT_EQ(count("saved-"), 0);
  wait_until([&] { return count("saved-") == 2; });
}

TEST_F(SearchRanks, GoOnAfterOneHasDied) {
  const char* const kLong = "10000";  // no experiment is to end before the last kill
  ASSERT_EQ(run(command(0, "one", kTwo, kLong)), 0) << errors();
  for (const bool is_leader : {true, false}) {
    test::Process search(command(2, "died", kTwo, kLong), {}, directory_.path());
    wait_until([&] { return experiments("died").size() == 2; });
    const pid_t first = leader("died");
    for (const pid_t rank : ranks("died"))
      if ((rank == first) == is_leader) ::kill(rank, SIGKILL);
    EXPECT_NE(search.wait(seconds(60)), 0);
  }
  ASSERT_EQ(run(command(2, "died", kTwo, kLong)), 0) << errors();
  expect_same("died", "one");
}

TEST_F(SearchRanks, TakeAKilledExperimentAsFailed) {
  ASSERT_EQ(run(command(0, "one", kTwo, "1000")), 0) << errors();
  {
    test::Process search(command(2, "failed", kTwo, "1000"), {}, directory_.path());
    wait_for_steps("failed", kTwoNames);
    const pid_t first = leader("failed");
    for (const pid_t experiment : experiments("failed"))
      if (std::stoi(status_of(experiment, "PPid")) != first) ::kill(experiment, SIGKILL);
    EXPECT_EQ(search.wait(seconds(60)), 0) << errors();
  }
  EXPECT_NE(read_file(directory_ / "failed/results.jsonl").find("killed (signal 9)"),
            std::string::npos);
  ASSERT_EQ(run(command(2, "failed", kTwo, "1000", {"--retry-failed"})), 0) << errors();
  expect_same("failed", "one");
}

/// Also for longer than ranks in training wait for each other.
TEST_F(SearchRanks, SuspendTheExperimentsOfAll) {
  test::Process search(command(2, "long", kTwo, "1000000"), {"MMREC_RANK_LIMIT=1"},
                       directory_.path());
  wait_for_steps("long", kTwoNames);
  const pid_t first = leader("long");
  const std::vector<pid_t> both = experiments("long");
  ASSERT_EQ(both.size(), 2u);
  ::kill(first, SIGTSTP);
  wait_until([&] { return is_stopped(first) && std::ranges::all_of(both, is_stopped); });
  std::this_thread::sleep_for(seconds(2));
  ::kill(first, SIGCONT);
  wait_for_steps("long", kTwoNames);
}

TEST_F(SearchRanks, RefuseAFolderThatOneDoesNotSee) {
  const fs::path search = test::program_path("search"), elsewhere = directory_ / "elsewhere";
  fs::create_directory(elsewhere);
  EXPECT_NE(run(two_places(search, directory_.path(), search, elsewhere)), 0);
  expect_error(
      {"rank 1 on ", (elsewhere / "search").string(), "choose a folder that all nodes share"});
  EXPECT_FALSE(fs::exists(directory_ / "search/search.json"));
}

TEST_F(SearchRanks, RefuseAnotherBuild) {
  const fs::path here = directory_.path(), search = test::program_path("search"),
                 other = copy_of_search("programs");
  EXPECT_NE(run(two_places(search, here, other, here)), 0);
  expect_error({"rank 1 on ", "there is no", "programs/train"});
  write_script("programs/train", "");
  EXPECT_NE(run(two_places(search, here, other, here)), 0);
  expect_error({"rank 1 on ", "programs/train is another build than rank 0's"});
}

TEST_F(SearchRanks, PrintWrongUseOnce) {
  for (const char* const option : {"--grid=lr", "--nonsense", "--table=results.txt"}) {
    SCOPED_TRACE(option);
    EXPECT_NE(run(command(3, "refused", kTwo, "5", {option})), 0);
    const std::string text = errors();
    const size_t first = text.find("error: ");
    EXPECT_NE(first, std::string::npos) << text;
    EXPECT_EQ(text.find("error: ", first + 1), std::string::npos) << text;
  }
}

}  // namespace
}  // namespace mmrec
