#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <cstring>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <thread>

#include "bench/harness/race.h"
#include "bench/tune/apply.h"
#include "bench/tune/builds.h"
#include "bench/tune/candidate.h"
#include "bench/tune/check.h"
#include "bench/tune/commands.h"
#include "bench/tune/derive.h"
#include "bench/tune/instance_search.h"
#include "runtime/threads.h"
#include "support/atomic_file.h"
#include "support/run_commands.h"
#include "tests/common/expect_error.h"
#include "tests/common/kernel_test.h"
#include "tests/common/process_ends.h"
#include "tests/common/temporary_directory.h"

namespace mmrec::tune {
namespace {

using test::TemporaryDirectory;

const Machine kMachine{.cpu = "some_cpu",
                       .microarchitecture = "some_cores",
                       .isa = "avx2",
                       .target = "x86-64-avx2",
                       .halide = "21.0.0",
                       .threads = 2};
const Instance kDefault{"packed", {}};

Instance tile(int rows) { return {"packed", {{"tile_rows", std::to_string(rows)}}}; }

Call product(int M) { return {"gemm", "nt", {{"M", M}, {"N", 128}, {"K", 32}}}; }

/// The verdict of a race on an instance that took `score` times the defaults' time.
Verdict timed(const Instance& instance, double score, std::optional<bool> wins = {},
              const Call& call = product(512)) {
  return {.time = "2026-11-21T20:00:00Z",
          .machine = kMachine,
          .call = call,
          .instance = instance,
          .code = "0123",
          .lowered = "4567",
          .status = Status::kOk,
          .race = "1",
          .seconds = {0.9e-3 * score, 1e-3 * score, 1e-6},
          .incumbent = kDefault,
          .incumbent_seconds = 1e-3,
          .default_seconds = 1e-3,
          .wins = wins};
}

/// The verdict of a duel: `challenger` alone against `incumbent`.
Verdict duel(const Instance& challenger, const Instance& incumbent, bool wins, double score) {
  Verdict verdict = timed(challenger, score, wins);
  verdict.incumbent = incumbent;
  return verdict;
}

Verdict of_all_shapes(const Instance& instance, Status status) {
  Verdict verdict = timed(instance, 1);
  verdict.call.sizes.clear();
  verdict.status = status;
  return verdict;
}

/// Records the warnings of a log.
struct Warnings {
  Warn warn() {
    return [this](const std::string& text) { texts.push_back(text); };
  }
  std::vector<std::string> texts;
};

// -------------------------------------------------------------------------------------------------
// log

TEST(TuneLog, ReadsWhatItWrites) {
  const TemporaryDirectory directory;
  Warnings warnings;
  Verdict failed = of_all_shapes(tile(6), Status::kSlowCompile);
  failed.message = "not ready \"after\" 60 seconds\n\xff";
  {
    Log log(directory / "log.jsonl", warnings.warn());
    log.append(std::vector{timed(tile(4), 0.5, true), failed});
    EXPECT_EQ(log.verdicts().size(), 2);
  }
  const Log log(directory / "log.jsonl", warnings.warn());
  ASSERT_EQ(log.verdicts().size(), 2);
  const Verdict& first = log.verdicts()[0];
  EXPECT_EQ(first.call, product(512));
  EXPECT_EQ(first.instance, tile(4));
  EXPECT_EQ(first.incumbent, kDefault);
  EXPECT_EQ(first.machine.target, kMachine.target);
  EXPECT_EQ(first.machine.threads, 2);
  EXPECT_EQ(first.code, "0123");
  EXPECT_EQ(first.lowered, "4567");
  EXPECT_EQ(first.wins, true);
  EXPECT_DOUBLE_EQ(first.score(), 0.5);
  EXPECT_EQ(log.verdicts()[1].status, Status::kSlowCompile);
  EXPECT_EQ(log.verdicts()[1].message.substr(0, 26), "not ready \"after\" 60 secon");
  EXPECT_TRUE(warnings.texts.empty());
}

TEST(TuneLog, SkipsAndReportsCorruptLines) {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory / "log.jsonl";
  Warnings warnings;
  Log(path, warnings.warn())
      .append(std::vector{timed(tile(4), 0.5), timed(tile(6), 0.6), timed(tile(8), 0.7)});
  std::string text = read_file(path);
  text[text.find('\n') + 20] = '\x01';  // in line 2
  write_file_atomically(path, text + "{\"time\": \"2026\"}\n[]\n\n" + text.substr(0, 50));
  Log log(path, warnings.warn());
  ASSERT_EQ(log.verdicts().size(), 2);
  EXPECT_EQ(log.verdicts()[1].instance, tile(8));
  ASSERT_EQ(warnings.texts.size(), 5);
  const int lines[] = {2, 4, 5, 6, 7};
  for (size_t i = 0; i < 5; ++i)
    EXPECT_NE(warnings.texts[i].find(fmt::format("{}:{}: ", path.string(), lines[i])),
              std::string::npos)
        << warnings.texts[i];

  // The next line after a truncated one is a separate line, for this reader and for new ones.
  log.append(std::vector{timed(tile(10), 0.8)});
  EXPECT_EQ(log.verdicts().back().instance, tile(10));
  log.append(std::vector{timed(tile(12), 0.9)});
  EXPECT_EQ(log.verdicts().size(), 4);
  EXPECT_EQ(warnings.texts.size(), 5) << "warned again";
  EXPECT_EQ(Log(path, warnings.warn()).verdicts().size(), 4);
}

TEST(TuneLog, RereadsATruncatedFile) {
  const TemporaryDirectory directory;
  Warnings warnings;
  Log log(directory / "log.jsonl", warnings.warn());
  log.append(std::vector{timed(tile(4), 1), timed(tile(6), 1), timed(tile(8), 1)});
  const std::string text = read_file(log.path());
  std::filesystem::resize_file(log.path(), text.find('\n') + 10);
  log.append(std::vector{timed(tile(10), 1)});
  ASSERT_EQ(log.verdicts().size(), 2);
  EXPECT_EQ(log.verdicts()[0].instance, tile(4));
  EXPECT_EQ(log.verdicts()[1].instance, tile(10));
  EXPECT_EQ(warnings.texts.size(), 1);
}

TEST(TuneLog, RefusesInvalidTimes) {
  const TemporaryDirectory directory;
  Warnings warnings;
  Verdict verdict = timed(tile(4), 0.5);
  verdict.default_seconds = 0;
  Log log(directory / "log.jsonl", warnings.warn());
  log.append(std::vector{verdict});
  EXPECT_TRUE(log.verdicts().empty());
  EXPECT_EQ(warnings.texts.size(), 1);
}

TEST(TuneLog, RefusesInvalidNumbers) {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory / "log.jsonl";
  Warnings warnings;
  Log(path, warnings.warn()).append(std::vector{timed(tile(4), 0.5)});
  const std::string line = read_file(path);
  const std::pair<const char*, const char*> changes[] = {{"\"M\":512", "\"M\":512.9"},
                                                         {"\"M\":512", "\"M\":true"},
                                                         {"\"M\":512", "\"M\":1e20"},
                                                         {"\"M\":512", "\"M\":-1"},
                                                         {"\"M\":512", "\"P\":512"},
                                                         {"\"M\":512", "\"M\":1,\"P\":1"},
                                                         {"\"threads\":2", "\"threads\":true"},
                                                         {"\"threads\":2", "\"threads\":-1"}};
  for (const auto& [part, by] : changes) {
    std::string changed = line;
    ASSERT_NE(changed.find(part), changed.npos) << part;
    write_file_atomically(path, changed.replace(changed.find(part), std::strlen(part), by));
    EXPECT_TRUE(Log(path, warnings.warn()).verdicts().empty()) << by;
  }
  std::string zero = line;
  write_file_atomically(path, zero.replace(zero.find("\"M\":512"), 7, "\"M\":0"));
  EXPECT_EQ(Log(path, warnings.warn()).verdicts().size(), 1) << "a size may be 0";
}

TEST(TuneLog, ConcurrentTunersKeepAllLines) {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory / "log.jsonl";
  constexpr int kLines = 200;
  std::vector<pid_t> tuners;
  for (int tuner = 0; tuner < 3; ++tuner) {
    tuners.push_back(::fork());
    if (tuners.back() != 0) continue;
    bool warned = false;
    Log log(path, [&](const std::string&) { warned = true; });
    for (int i = 0; i < kLines; ++i) log.append(std::vector{timed(tile(1000 * tuner + i), 1)});
    ::_exit(warned ? 1 : 0);
  }
  for (const pid_t tuner : tuners) {
    int status = 0;
    ::waitpid(tuner, &status, 0);
    EXPECT_EQ(status, 0);
  }
  Warnings warnings;
  const Log log(path, warnings.warn());
  std::set<Instance> found;
  for (const Verdict& verdict : log.verdicts()) found.insert(verdict.instance);
  EXPECT_EQ(found.size(), 3 * kLines);
  EXPECT_TRUE(warnings.texts.empty());
}

TEST(TuneLog, SeesLinesOfOtherTuners) {
  const TemporaryDirectory directory;
  Warnings warnings;
  Log one(directory / "log.jsonl", warnings.warn()),
      other(directory / "log.jsonl", warnings.warn());
  one.append(std::vector{timed(tile(4), 1)});
  size_t seen = 0;
  other.append(std::vector{timed(tile(6), 1)}, [&] { seen = other.verdicts().size(); });
  EXPECT_EQ(seen, 2);
}

// -------------------------------------------------------------------------------------------------
// table

TableRow row_of(const Call& call, const Instance& instance, const std::string& cpu = "some_cpu") {
  return {.call = call,
          .isa = "avx2",
          .threads = 2,
          .cpu = cpu,
          .instance = instance,
          .seconds = 0.00012345678,
          .default_seconds = 2e-4,
          .halide = "21.0.0",
          .lowered = "4567",
          .date = "2026-11-21"};
}

TEST(TuneTable, WritesSortedRowsOnePerLine) {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory / "some_cores.json";
  Warnings warnings;
  write_schedule_table(path, {"some_cores",
                              {row_of(product(512), tile(6)), row_of(product(8), kDefault),
                               row_of(product(8), kDefault, "other_cpu")}});
  const std::string text = read_file(path);
  EXPECT_NE(text.find("\n  "
                      "{\"op\":\"gemm\",\"pass\":\"nt\",\"dtype\":\"f32\",\"sizes\":{\"K\":32,"
                      "\"M\":512,\"N\":128},"),
            text.npos)
      << text;
  const ScheduleTable table = read_schedule_table(path, "some_cores", warnings.warn());
  ASSERT_EQ(table.rows.size(), 3);
  EXPECT_EQ(table.rows[0].call, product(8));
  EXPECT_EQ(table.rows[0].cpu, "other_cpu");
  EXPECT_EQ(table.rows[2].instance, tile(6));
  EXPECT_DOUBLE_EQ(table.rows[2].seconds, 0.0001235);
  write_schedule_table(path, table);
  EXPECT_EQ(read_file(path), text);
  EXPECT_TRUE(warnings.texts.empty());
}

TEST(TuneTable, KeepsUnreadableRows) {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory / "some_cores.json";
  Warnings warnings;
  write_schedule_table(
      path, {"some_cores", {row_of(product(8), kDefault), row_of(product(512), tile(6))}});
  std::string text = read_file(path);
  text.replace(text.find("\"pass\""), 6, "\"past\"");
  write_file_atomically(path, text);
  const ScheduleTable table = read_schedule_table(path, "some_cores", warnings.warn());
  EXPECT_EQ(table.rows.size(), 1);
  ASSERT_EQ(warnings.texts.size(), 1);
  EXPECT_NE(warnings.texts[0].find("the field 'pass' is missing"), std::string::npos)
      << warnings.texts[0];
  write_schedule_table(path, table);
  EXPECT_NE(read_file(path).find("\"past\":\"nt\""), std::string::npos) << read_file(path);
  EXPECT_EQ(read_schedule_table(path, "some_cores", warnings.warn()).unreadable.size(), 1);

  for (const auto& [part, by] : {std::pair("\"M\":512", "\"M\":512.5"),
                                 {"\"M\":512", "\"P\":512"},
                                 {"\"seconds\":0.0001235", "\"seconds\":0"}}) {
    write_schedule_table(path, {"some_cores", {row_of(product(512), tile(6))}});
    text = read_file(path);
    ASSERT_NE(text.find(part), text.npos) << text;
    write_file_atomically(path, text.replace(text.find(part), std::strlen(part), by));
    EXPECT_TRUE(read_schedule_table(path, "some_cores", warnings.warn()).rows.empty()) << by;
  }

  write_file_atomically(path, "{\"rows\": [");
  expect_error([&] { read_schedule_table(path, "some_cores", warnings.warn()); },
               {"some_cores.json", "no table", "move it away"});
  EXPECT_EQ(read_file(path), "{\"rows\": [");
}

TEST(TuneTable, MergeReplacesRowsOfTheSameKey) {
  ScheduleTable table{"some_cores",
                      {row_of(product(8), kDefault), row_of(product(8), kDefault, "other_cpu")}};
  merge_rows(table, {row_of(product(8), tile(6)), row_of(product(512), tile(6))});
  ASSERT_EQ(table.rows.size(), 3);
  for (const TableRow& row : table.rows)
    EXPECT_EQ(row.instance, row.cpu == "other_cpu" ? kDefault : tile(6));
}

// -------------------------------------------------------------------------------------------------
// derive

const Sources kSources{.default_variant = [](const Call&) { return "packed"; },
                       .of_today = [](const Verdict& verdict) { return verdict.code == "0123"; }};

std::vector<TableRow> derive(const std::vector<Verdict>& verdicts) {
  return derive_rows(verdicts, kMachine, kSources);
}

// A log of an earlier version is read without a word. Its verdicts are on other code.
TEST(TuneDerive, IgnoresVerdictsOfEarlierVersions) {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory / "log.jsonl";
  Warnings warnings;
  {
    Log(path, warnings.warn()).append(std::vector{timed(tile(4), 0.5, true)});
  }
  std::string text = read_file(path);
  ASSERT_NE(text.find("\"code\""), text.npos) << text;
  write_file_atomically(path, text.replace(text.find("\"code\""), 6, "\"source\""));
  const Log log(path, warnings.warn());
  ASSERT_EQ(log.verdicts().size(), 1);
  EXPECT_TRUE(derive(log.verdicts()).empty());
  EXPECT_TRUE(warnings.texts.empty());
}

TEST(TuneDerive, WinnersAndDefaults) {
  const Call small = product(8);
  const std::vector<TableRow> rows =
      derive({timed(kDefault, 1), timed(tile(6), 0.8, true), timed(tile(8), 0.9),
              timed(kDefault, 1, {}, small), timed(tile(10), 0.7, {}, small)});
  ASSERT_EQ(rows.size(), 2);
  EXPECT_EQ(rows[1].call, product(512));
  EXPECT_EQ(rows[1].instance, tile(6));
  EXPECT_DOUBLE_EQ(rows[1].seconds, 0.8e-3);
  EXPECT_EQ(rows[1].date, "2026-11-21");
  EXPECT_EQ(rows[0].instance, kDefault) << "what did not beat the incumbent by enough is no winner";
}

TEST(TuneDerive, WinnerOfADuelBecomesChampion) {
  const Verdict first = duel(tile(6), kDefault, true, 0.8);
  EXPECT_EQ(derive({timed(kDefault, 1), first, duel(tile(8), tile(6), true, 0.79)})[0].instance,
            tile(8));
  EXPECT_EQ(derive({timed(kDefault, 1), first, duel(tile(8), tile(6), false, 0.7)})[0].instance,
            tile(6));
  // By another tuner, against an instance that is no longer the champion.
  EXPECT_EQ(derive({timed(kDefault, 1), first, duel(tile(8), kDefault, true, 0.7)})[0].instance,
            tile(8));
  EXPECT_EQ(derive({timed(kDefault, 1), first, duel(tile(8), kDefault, true, 0.79)})[0].instance,
            tile(6));
  EXPECT_EQ(derive({timed(kDefault, 1), first, duel(tile(8), kDefault, false, 0.99)})[0].instance,
            tile(6));
}

TEST(TuneDerive, LaterVerdictsOverrideEarlierOnes) {
  const Verdict first = duel(tile(6), kDefault, true, 0.8);
  EXPECT_EQ(
      derive({timed(kDefault, 1), first, timed(tile(6), 1.1), duel(kDefault, tile(6), true, 1)})[0]
          .instance,
      kDefault);
  EXPECT_EQ(derive({timed(kDefault, 1), first, duel(tile(6), kDefault, false, 1)})[0].instance,
            kDefault)
      << "the latest race of the two";
}

TEST(TuneDerive, FirstChampionIsTheFirstIncumbent) {
  const auto against = [](Verdict verdict) {  // the table's instance from before the log
    verdict.incumbent = tile(4);
    return verdict;
  };
  EXPECT_EQ(derive({against(timed(kDefault, 1)), against(timed(tile(4), 0.9)),
                    against(timed(tile(6), 0.95))})[0]
                .instance,
            tile(4));
  EXPECT_EQ(derive({against(timed(kDefault, 1)), against(timed(tile(6), 0.95))})[0].instance,
            kDefault)
      << "it has never run";
}

TEST(TuneDerive, BarredInstancesAreNeverChosen) {
  for (const Status status : {Status::kWrong, Status::kRefused}) {
    const Verdict barred = of_all_shapes(tile(6), status);
    EXPECT_EQ(derive({timed(kDefault, 1), timed(tile(6), 0.1, true), timed(tile(8), 0.8, true),
                      barred})[0]
                  .instance,
              tile(8));
    EXPECT_EQ(derive({barred, timed(kDefault, 1), timed(tile(6), 0.1, true)})[0].instance,
              kDefault);
  }
  for (const Status status : {Status::kFailed, Status::kSlowCompile})
    EXPECT_EQ(
        derive({timed(kDefault, 1), timed(tile(6), 0.1, true), of_all_shapes(tile(6), status)})[0]
            .instance,
        tile(6));
}

TEST(TuneDerive, DropsBarredRowsOfAnyOrigin) {
  Verdict wrong = of_all_shapes(tile(6), Status::kWrong);
  wrong.machine.threads = 1;  // barred for any number of threads
  ScheduleTable table{"some_cores",
                      {row_of(product(8), tile(6)), row_of(product(8), tile(6), "other_cpu"),
                       row_of(product(512), tile(8))}};
  drop_barred_rows(table, std::vector{wrong}, kMachine);
  ASSERT_EQ(table.rows.size(), 2);
  EXPECT_EQ(table.rows[0].cpu, "other_cpu");
  EXPECT_EQ(table.rows[1].instance, tile(8));
}

TEST(TuneDerive, IgnoresVerdictsOfOtherMachinesAndCode) {
  const auto changed = [](auto change) {
    Verdict verdict = timed(tile(6), 0.5, true);
    change(verdict);
    return verdict;
  };
  for (const Verdict& other : {changed([](Verdict& v) { v.machine.cpu = "other"; }),
                               changed([](Verdict& v) { v.machine.threads = 1; }),
                               changed([](Verdict& v) { v.machine.target = "x86-64"; }),
                               changed([](Verdict& v) { v.machine.halide = "20"; }),
                               changed([](Verdict& v) { v.code = "old"; }),
                               changed([](Verdict& v) { v.status = Status::kDropped; })})
    EXPECT_EQ(derive({timed(kDefault, 1), other})[0].instance, kDefault);
  EXPECT_TRUE(derive({changed([](Verdict& v) { v.code = "old"; })}).empty());
}

/// Returns the verdict for a call that takes `times` times as long.
Verdict longer(double times, Verdict verdict) {
  for (double* seconds : {&verdict.seconds.best, &verdict.seconds.median,
                          &verdict.incumbent_seconds, &verdict.default_seconds})
    *seconds *= times;
  return verdict;
}

TEST(TuneDerive, ShapesShareInstances) {
  const Call a = product(100), b = product(200), c = product(300);
  const std::vector<TableRow> rows = derive(
      {timed(kDefault, 1, {}, a), longer(2, timed(kDefault, 1, {}, b)), timed(kDefault, 1, {}, c),
       timed(tile(6), 0.80, true, a), timed(tile(8), 0.81, {}, a),  // tile(8) is nearly as good
       longer(2, timed(tile(8), 0.70, true, b)), longer(2, timed(tile(6), 0.71, {}, b)),
       timed(tile(4), 0.50, true, c), timed(tile(8), 0.60, {}, c)});  // tile(8) is much slower
  ASSERT_EQ(rows.size(), 3);
  EXPECT_EQ(rows[0].instance, tile(8));
  EXPECT_EQ(rows[1].instance, tile(8)) << "the longest has its own";
  EXPECT_EQ(rows[2].instance, tile(4));
}

TEST(TuneDerive, SharedInstanceIsNotSlowerThanDefaults) {
  const Call a = product(100), b = product(200);
  const auto instance_of_b = [&](double score) {
    return derive({longer(2, timed(kDefault, 1, {}, a)), longer(2, timed(tile(6), 0.8, true, a)),
                   timed(kDefault, 1, {}, b), timed(tile(6), score, {}, b)})[1]
        .instance;
  };
  EXPECT_EQ(instance_of_b(1.01), kDefault);
  EXPECT_EQ(instance_of_b(0.995), tile(6));
}

// -------------------------------------------------------------------------------------------------
// race

TEST(TuneRace, Statistics) {
  EXPECT_DOUBLE_EQ(median({3, 1, 2}), 2);
  EXPECT_DOUBLE_EQ(median({4, 1, 2, 3}), 2.5);
  EXPECT_DOUBLE_EQ(median_deviation({1, 2, 3, 4, 100}), 1);
  const Timing seconds = summary({2, 1, 9});
  EXPECT_DOUBLE_EQ(seconds.best, 1);
  EXPECT_DOUBLE_EQ(seconds.median, 2);
  EXPECT_DOUBLE_EQ(seconds.mad, 1);
}

/// Simulates a machine that switches between two speeds, with noise on each sample and occasional
/// disturbances.
class NoisyMachine {
 public:
  NoisyMachine(uint64_t seed, double noise) : random_(seed), noise_(noise) {}
  /// Runs a duel of at most `rounds` rounds. The challenger takes `time` times the incumbent's
  /// time.
  Outcome duel(double time, int rounds) {
    RaceResult incumbent, challenger;
    for (int i = 0; i < rounds && outcome(challenger, incumbent) == Outcome::kOpen; ++i) {
      if (uniform_(random_) < 0.05) phase_ = phase_ == 1 ? 1.4 : 1;
      incumbent.samples.push_back(phase_ * sample());
      challenger.samples.push_back(phase_ * time * sample());
    }
    return outcome(challenger, incumbent);
  }

 private:
  double sample() {
    return 1 + noise_ * normal_(random_) + (uniform_(random_) < 0.05 ? 0.5 * uniform_(random_) : 0);
  }
  std::mt19937_64 random_;
  std::normal_distribution<double> normal_;
  std::uniform_real_distribution<double> uniform_;
  double noise_, phase_ = 1;
};

TEST(TuneRace, OnlyClearGainsWin) {
  constexpr int kDuels = 200;
  for (const double noise : {0.005, 0.01, 0.02, 0.05}) {
    int equal = 0, faster = 0, hardly = 0, slower = 0;
    for (uint64_t seed = 0; seed < kDuels; ++seed) {
      NoisyMachine machine(seed, noise);
      equal += machine.duel(1, 500) == Outcome::kFaster;
      faster += machine.duel(0.965, 500) == Outcome::kFaster;
      hardly += machine.duel(0.99, 500) == Outcome::kFaster;
      slower += machine.duel(1.05, 500) == Outcome::kFaster;
    }
    EXPECT_LE(equal, kDuels / 40) << noise;
    EXPECT_GE(faster, kDuels * 9 / 10) << noise;
    EXPECT_LE(hardly, kDuels / 10) << noise;
    EXPECT_EQ(slower, 0) << noise;
  }
}

TEST(TuneRace, FewRoundsDecideNothing) {
  const RaceResult slow{std::vector<double>(15, 2.), false},
      fast{std::vector<double>(15, 1.), false};
  EXPECT_EQ(outcome(fast, slow), Outcome::kOpen);
  EXPECT_EQ(outcome({std::vector<double>(16, 1.), false}, {std::vector<double>(16, 2.), false}),
            Outcome::kFaster);
}

TEST(TuneRace, ComparesSamplesOfTheSameRound) {
  EXPECT_DOUBLE_EQ(relative({{2, 20, 200}, false}, {{1, 10, 100, 1000}, false}), 2)
      << "one left early";
}

TEST(TuneRace, DropsSlowContestantsEarly) {
  std::vector<int> calls(4);
  const auto contestant = [&](size_t i, double seconds, bool stays) {
    return Contestant{[&calls, i, seconds] { return ++calls[i], seconds; }, stays};
  };
  const std::vector<RaceResult> runs =
      race({contestant(0, 2, true), contestant(1, 1, false), contestant(2, 1.2, false),
            contestant(3, 1.3, false)},
           {.rounds = 20, .early = 5, .drop = 1.25, .seconds = 1000});
  EXPECT_EQ(calls, (std::vector<int>{20, 20, 20, 5}));
  EXPECT_TRUE(runs[3].dropped);
  EXPECT_FALSE(runs[0].dropped) << "it stays, as slow as it is";
  EXPECT_EQ(
      race({contestant(0, 1, true)}, {.rounds = 20, .early = 5, .drop = 1.25, .seconds = 0})[0]
          .samples.size(),
      5)
      << "no time for more";
  const auto decided = [](const std::vector<RaceResult>& runs) {
    return runs[0].samples.size() == 3;
  };
  EXPECT_EQ(race({contestant(0, 1, true)}, {.seconds = 1000, .decided = decided})[0].samples.size(),
            3);
}

// -------------------------------------------------------------------------------------------------
// search

const Space kTile{"packed",
                  {{"rows", {0, 2, 4, 6, 8, 10, 12, 14}, 0},
                   {"vectors", {0, 1, 2, 3, 4}, 0},
                   {"tasks", {1, 2, 4, 8}, 1},
                   {"unroll", {1, 2, 4, 8}, 0}}};
const Space kOther{"direct", {{"dots", {1, 2, 4, 8}, 2}}};

TEST(TuneSpace, PointsAndInstances) {
  EXPECT_EQ(kTile.size(), 8 * 5 * 4 * 4);
  EXPECT_EQ(kTile.instance(kTile.defaults()), (Instance{"packed", {}}));
  const Instance instance{"packed", {{"rows", "6"}, {"tasks", "8"}}};
  EXPECT_EQ(kTile.instance(kTile.nearest(instance)), instance);
  EXPECT_EQ(kTile.instance(kTile.nearest({"packed", {{"rows", "100"}}})),
            (Instance{"packed", {{"rows", "14"}}}));
  const std::vector<Point> grid = kTile.grid();
  EXPECT_EQ(grid.size(), 640);
  EXPECT_EQ(std::set(grid.begin(), grid.end()).size(), 640);
  EXPECT_EQ(grid.front(), kTile.defaults());
  EXPECT_EQ(parse_params(params_string(instance.params)), instance.params);
}

TEST(TuneSpace, NeighboursDifferByOneStep) {
  const Point inside{3, 2, 1, 1};
  EXPECT_EQ(kTile.steps(inside).size(), 8);
  const Point edge{1, 1, 0, 3};
  EXPECT_EQ(kTile.steps(edge).size(), 4)
      << "0, which means as the target wants it, is no neighbour of 1";
  EXPECT_EQ(kTile.steps(kTile.defaults()).size(), 7 + 4 + 2 + 1) << "but all are its neighbours";
  const std::vector<Point> trades = kTile.trades(inside);
  EXPECT_EQ(trades.size(), 12);
  EXPECT_NE(std::ranges::find(trades, Point{4, 1, 1, 1}), trades.end());
}

TEST(TuneSpace, RejectsDuplicatesOfDefaults) {
  const Space space = space_of(default_kernel({"gemm", "nt", {}}));
  const auto sensible = [&](const char* name, int value) {
    return space.sensible({"packed", {{name, std::to_string(value)}}});
  };
  EXPECT_TRUE(sensible("tile_rows", 4));
  EXPECT_FALSE(sensible("tile_rows", Machine::current().isa == "avx512" ? 8 : 6))
      << "0 says the same";
  EXPECT_TRUE(sensible("tile_vectors", 1));
  EXPECT_FALSE(sensible("tile_vectors", 2)) << "0 says the same";
}

/// A synthetic matmul time: lowest if the tile fills the registers, high if it spills.
double cost(const Instance& instance) {
  if (instance.variant == "direct")
    return 2 +
           std::abs(std::stoi(instance.params.contains("dots") ? instance.params.at("dots") : "4") -
                    2);
  const auto value = [&](const char* name, int standard) {
    return instance.params.contains(name) ? std::stoi(instance.params.at(name)) : standard;
  };
  const int rows = value("rows", 0) ? value("rows", 0) : 12,
            vectors = value("vectors", 0) ? value("vectors", 0) : 2;
  const int registers = rows * vectors;
  double time = 1 + 0.5 / vectors + 0.6 / rows;
  if (registers + vectors + 1 > 32) time *= 1.8;
  return time + 0.02 * std::abs(std::log2(value("tasks", 2) / 4.)) +
         0.03 * std::abs(std::log2(value("unroll", 1) / 2.));
}

struct Found {
  double best = INFINITY;
  size_t tried = 0;
};
Found run(InstanceSearch search) {
  Found found;
  std::set<Instance> seen;
  for (auto instances = search.next(4); !instances.empty(); instances = search.next(4))
    for (const Instance& instance : instances) {
      EXPECT_TRUE(seen.insert(instance).second) << "tried twice: " << instance.string();
      const double time = cost(instance);
      found.best = std::min(found.best, time);
      ++found.tried;
      search.tell(instance, std::vector<double>{time});
    }
  return found;
}

TEST(TuneSearch, FindsTheGridsOptimumWithFewTries) {
  const Found grid = run(InstanceSearch::grid({kTile, kOther}, {1}));
  EXPECT_EQ(grid.tried, 644);
  for (const uint64_t seed : {1, 2, 3, 4, 5}) {
    const Found search = run(InstanceSearch({kTile, kOther}, {1}, {}, seed));
    EXPECT_LE(search.best, 1.01 * grid.best) << "seed " << seed;
    EXPECT_LE(search.tried, grid.tried / 3) << "seed " << seed;
  }
}

TEST(TuneSearch, SeedsComeAfterTheDefaults) {
  const Instance seed{"packed", {{"rows", "6"}, {"vectors", "4"}}};
  InstanceSearch search({kTile, kOther}, {1}, {seed}, 1);
  EXPECT_EQ(search.next(3), (std::vector<Instance>{{"packed", {}}, {"direct", {}}, seed}));
}

TEST(TuneSearch, EndsIfNoInstanceIsACandidate) {
  InstanceSearch search({kTile}, {1}, {}, 1);
  size_t tried = 0;
  for (auto instances = search.next(4); !instances.empty(); instances = search.next(4))
    for (const Instance& instance : instances) ++tried, search.tell(instance, std::nullopt);
  EXPECT_LE(tried, 4);
}

/// The two shapes have opposite optima.
TEST(TuneSearch, FindsTheBestOfEachShape) {
  const Space space{"packed", {{"size", {1, 2, 4, 8, 16, 32, 64, 128}, 3}}};
  InstanceSearch search({space}, {0.9, 0.1}, {}, 1);
  double best[] = {INFINITY, INFINITY};
  for (auto instances = search.next(2); !instances.empty(); instances = search.next(2))
    for (const Instance& instance : instances) {
      const double size =
          instance.params.contains("size") ? std::stod(instance.params.at("size")) : 8;
      const std::vector<double> scores{1 + std::abs(std::log2(size)),
                                       1 + std::abs(std::log2(size / 128))};
      for (size_t i = 0; i < 2; ++i) best[i] = std::min(best[i], scores[i]);
      search.tell(instance, scores);
    }
  EXPECT_EQ(best[0], 1);
  EXPECT_EQ(best[1], 1);
}

// -------------------------------------------------------------------------------------------------
// candidates

TEST(TuneProcess, KillsCommandsAfterTheTimeLimit) {
  const TemporaryDirectory directory;
  const auto begin = std::chrono::steady_clock::now();
  const std::string script =
      fmt::format("sleep 100 & echo $! > {}; wait", (directory / "id").string());
  const std::vector<Ending> endings = run_commands(
      {{{"sh", "-c", script}, {}}, {{"sh", "-c", "exit 3"}, {}}, {{"sh", "-c", "kill -11 $$"}, {}}},
      2, 0.5);
  EXPECT_TRUE(endings[0].too_late);
  EXPECT_TRUE(test::ends(std::stoi(read_file(directory / "id"))))
      << "what the command had started still runs";
  EXPECT_EQ(endings[1].code, 3);
  EXPECT_EQ(endings[2].code, -SIGSEGV);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(50));
  expect_error([] { run_command({{"/no/such/program"}, {}}); }, {"/no/such/program"});
}

TEST(TuneProcess, SeparatesOutputAndErrors) {
  const TemporaryDirectory directory;
  run_command({{"sh", "-c", "echo one; echo two >&2"}, directory / "both"});
  EXPECT_EQ(read_file(directory / "both"), "one\ntwo\n");
  run_command({{"sh", "-c", "echo one; echo two >&2"}, directory / "output", directory / "errors"});
  EXPECT_EQ(read_file(directory / "output"), "one\n");
  EXPECT_EQ(read_file(directory / "errors"), "two\n");
}

class TuneCandidate : public testing::Test {
 protected:
  Compiled make(const std::string& fault, double limit = 60) {
    Workshop workshop({.folder = directory_ / "work", .workers = 1, .limit = limit});
    return workshop
        .make({{"rmsnorm",
                "forward",
                "f32",
                "faulty",
                "test_faulty_rmsnorm_forward",
                {{"fault", fault}},
                {{48, 64}},
                1}})
        .front();
  }
  TemporaryDirectory directory_;
};

TEST_F(TuneCandidate, CorrectKernelRuns) {
  const Compiled made = make("none");
  ASSERT_EQ(made.status, Status::kOk) << made.message;
  const std::vector<int> sizes{40, 24};
  const KernelEntry& trusted = *std::ranges::find_if(
      kernels(), [](const KernelEntry& entry) { return std::string_view(entry.op) == "rmsnorm"; });
  EXPECT_EQ(find_fault(trusted, made.candidate->entry(), sizes, 1), "");
  EXPECT_TRUE(std::filesystem::is_empty(directory_.path()))
      << "the workshop's folder is still there";
}

TEST_F(TuneCandidate, WrongKernelsAreDetected) {
  for (const char* fault : {"last_column", "odd_sizes"}) {
    const Compiled made = make(fault);
    EXPECT_EQ(made.status, Status::kWrong) << fault;
    EXPECT_EQ(made.candidate, nullptr);
    EXPECT_NE(made.message.find("expected"), std::string::npos) << made.message;
  }
}

TEST_F(TuneCandidate, RefusalsAndCrashesAreReported) {
  for (const auto& [fault, status, message] :
       {std::tuple("refused", Status::kRefused, "make no sense"),
        {"crash", Status::kFailed, "signal 6"},
        {"wild_read", Status::kFailed, ""}}) {
    const Compiled made = make(fault);
    EXPECT_EQ(made.status, status) << fault;
    EXPECT_NE(made.message.find(message), std::string::npos) << made.message;
  }
}

TEST_F(TuneCandidate, SlowCompilationIsEnded) {
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(make("slow", 2).status, Status::kSlowCompile);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(30));
}

TEST(TuneCheck, ChecksOddShapes) {
  EXPECT_EQ(shapes_to_check({512, 64, 4}),
            (std::vector<std::vector<int>>{{512, 64, 4}, {259, 64, 4}, {259, 35, 4}, {11, 11, 4}}));
  EXPECT_EQ(shapes_to_check({2, 4}), (std::vector<std::vector<int>>{{2, 4}}));
}

TEST(TuneCheck, RestoresTheThreadsAfterAFailedKernel) {
  const ScopedThreads one(1);
  const std::vector<int> sizes{40, 24};
  const KernelEntry& trusted = *std::ranges::find_if(
      kernels(), [](const KernelEntry& entry) { return std::string_view(entry.op) == "rmsnorm"; });
  KernelEntry failing = trusted;
  failing.call = [](void**) { return 1; };
  expect_error([&] { find_fault(trusted, failing, sizes, 1); }, {"rmsnorm"});
  EXPECT_EQ(num_threads(), 1);
  EXPECT_EQ(find_fault(failing, trusted, sizes, 1), "") << "as if it refused the sizes";
  EXPECT_EQ(num_threads(), 1);
}

// -------------------------------------------------------------------------------------------------
// table and build

class TuneDatabase : public testing::Test {
 protected:
  TuneDatabase() { ::setenv("MMREC_SCHEDULE_DIR", folder().c_str(), 1); }
  ~TuneDatabase() override { ::unsetenv("MMREC_SCHEDULE_DIR"); }

  std::filesystem::path folder() const { return directory_ / "schedules"; }
  Database database() { return {folder(), Machine::current(), warnings_.warn()}; }
  static Verdict timed_here(const Database& database, const Call& call, const Instance& instance,
                            double score, std::optional<bool> wins = {}) {
    Verdict verdict = database.verdict(call, instance, Status::kOk);
    const Verdict like = timed(instance, score, wins);
    const KernelEntry* built = built_kernel(call, instance);
    verdict.lowered = built ? built->lowered : like.lowered;
    verdict.seconds = like.seconds;
    verdict.incumbent = kDefault;
    verdict.incumbent_seconds = verdict.default_seconds = like.default_seconds;
    verdict.wins = wins;
    return verdict;
  }

  TemporaryDirectory directory_;
  Warnings warnings_;
};

TEST_F(TuneDatabase, ReadingCreatesNoFiles) {
  EXPECT_TRUE(database().table().rows.empty());
  EXPECT_FALSE(std::filesystem::exists(folder()));
}

TEST_F(TuneDatabase, FolderIsNormalised) {
  const std::filesystem::path here = std::filesystem::current_path();
  for (const char* name : {"own", "own/", "./own", "other/../own"}) {
    ::setenv("MMREC_SCHEDULE_DIR", name, 1);
    EXPECT_EQ(user_schedule_folder(), here / "own") << name;
  }
  ::setenv("MMREC_SCHEDULE_DIR", "", 1);
  EXPECT_EQ(user_schedule_folder(), "");
}

TEST_F(TuneDatabase, KernelsWithAssertionsNeedAnotherFolder) {
  check_may_tune("x86-64-linux-avx2-no_asserts-no_runtime", "");
  check_may_tune("x86-64-linux-avx2-no_runtime", folder());
  expect_error([] { check_may_tune("x86-64-linux-avx2-no_runtime", ""); }, {"MMREC_SCHEDULE_DIR"});
}

TEST_F(TuneDatabase, BaselinesAreNeverChosen) {
  Database mine = database();
  const Call call{"scan", "forward", {{"R", 4}, {"T", 100}, {"D", 8}}};
  const Instance serial{"serial", {}};
  Verdict baseline = timed_here(mine, call, {"logspace", {}}, 0.5, true),
          standard = timed_here(mine, call, serial, 1);
  baseline.incumbent = standard.incumbent = serial;
  // as logged before the variant was declared a baseline
  baseline.code = built_kernel({"scan", "forward", {}}, {"logspace", {}})->lowered;
  mine.add(std::vector{standard, baseline});
  ASSERT_NE(mine.row(call), nullptr);
  EXPECT_EQ(mine.row(call)->instance, serial);
}

TEST_F(TuneDatabase, SweepNeverTakesWrongKernels) {
  SweepOptions options{.calls = {{call_of("rmsnorm", "forward", {64, 48}), 1}},
                       .workshop = {.folder = directory_ / "work"}};
  static constexpr registry::Variant kFaulty[] = {
      {"rmsnorm", "none", "test_faulty_rmsnorm", "fault=none", "f32", 0, nullptr},
      {"rmsnorm", "last_column", "test_faulty_rmsnorm", "fault=last_column", "f32", 0, nullptr},
      {"rmsnorm", "odd_sizes", "test_faulty_rmsnorm", "fault=odd_sizes", "f32", 0, nullptr}};
  std::vector<KernelEntry> faulty;
  for (const registry::Variant& line : kFaulty)
    faulty.push_back(
        {"", "rmsnorm", "forward", line.name, "f32", "", "", "", &line, nullptr, nullptr});
  for (const KernelEntry& kernel : faulty) options.strangers.push_back(&kernel);
  Database mine = database();
  Console quiet(true);
  ASSERT_EQ(sweep(options, mine, quiet).size(), 1);
  std::map<std::string, std::set<Status>> said;
  for (const Verdict& verdict : mine.log().verdicts())
    said[verdict.instance.variant].insert(verdict.status);
  for (const char* fault : {"last_column", "odd_sizes"})
    EXPECT_EQ(said[fault], std::set{Status::kWrong}) << fault;
  EXPECT_FALSE(said["none"].empty() || said["none"].contains(Status::kWrong))
      << "the right one has not run";
  ASSERT_NE(mine.row(options.calls[0].call), nullptr);
  EXPECT_FALSE(said.at(mine.row(options.calls[0].call)->instance.variant).contains(Status::kWrong));
}

TEST_F(TuneDatabase, ConcurrentTunersShareRows) {
  Database one = database(), other = database();
  const Call call = product(512), second = product(64);
  one.add(
      std::vector{timed_here(one, call, kDefault, 1), timed_here(one, call, tile(6), 0.8, true)});
  other.add(std::vector{timed_here(other, second, kDefault, 1)});
  ASSERT_NE(other.row(call), nullptr);
  EXPECT_EQ(other.row(call)->instance, tile(6));
  EXPECT_EQ(other.row(second)->instance, kDefault);
  EXPECT_EQ(database().table().rows.size(), 2);
  other.add(std::vector{other.verdict({call.op, call.pass, {}}, tile(6), Status::kWrong)});
  EXPECT_EQ(other.row(call)->instance, kDefault);
  EXPECT_TRUE(warnings_.texts.empty());
}

TEST_F(TuneDatabase, EditedRowsStayUntilNewVerdicts) {
  Database mine = database();
  const Call edited = product(512), other = product(64);
  mine.add(std::vector{timed_here(mine, edited, kDefault, 1),
                       timed_here(mine, edited, tile(6), 0.8, true),
                       timed_here(mine, other, kDefault, 1)});
  ScheduleTable table = mine.table();
  for (TableRow& row : table.rows)
    if (row.call == edited) row.instance = tile(8);
  std::erase_if(table.rows, [&](const TableRow& row) { return row.call == other; });
  write_schedule_table(mine.table_path(), table);
  mine.add({});
  EXPECT_EQ(mine.row(edited)->instance, tile(8));
  EXPECT_NE(mine.row(other), nullptr) << "the log has it";
  mine.add(std::vector{timed_here(mine, other, tile(4), 0.9, true)});
  EXPECT_EQ(mine.row(edited)->instance, tile(8));
  mine.add(std::vector{timed_here(mine, edited, tile(4), 0.9)});
  EXPECT_EQ(mine.row(edited)->instance, tile(6)) << "there is news of it";
}

TEST_F(TuneDatabase, RecoversAWinnerMissingInTheTable) {
  Database mine = database();
  const Call call = product(512);
  mine.add(std::vector{timed_here(mine, call, kDefault, 1)});
  const std::string before = read_file(mine.table_path());
  mine.add(std::vector{timed_here(mine, call, tile(6), 0.8, true)});
  write_file_atomically(mine.table_path(),
                        before);  // as if SIGKILL came before the table was written
  std::filesystem::last_write_time(
      mine.table_path(),
      std::filesystem::last_write_time(mine.table_path()) - std::chrono::seconds(10));
  Database next = database();
  next.add({});
  EXPECT_EQ(next.row(call)->instance, tile(6));
}

TEST_F(TuneDatabase, DoesNotOverwriteABrokenTable) {
  Database mine = database();
  make_directory(folder());
  write_file_atomically(mine.table_path(), "<<<<<<< mine");
  expect_error([&] { mine.add(std::vector{timed_here(mine, product(512), kDefault, 1)}); },
               {"no table"});
  EXPECT_EQ(read_file(mine.table_path()), "<<<<<<< mine");
  std::filesystem::remove(mine.table_path());
  mine.add({});
  EXPECT_NE(mine.row(product(512)), nullptr) << "the log has it";
}

/// A CMake project with one kernel, which is a copy of the table. test_gemm fails while the table
/// has tile_rows = 6.
class TuneTree : public TuneDatabase {
 protected:
  TuneTree() {
    make_directory(tree_.source);
    for (const char* made : {"bin", "generators"}) make_directory(tree_.build / made);
    write_test("gemm", fmt::format("! grep -q '\"tile_rows\":6' {}", table().string()));
    write_file_atomically(tree_.source / "CMakeLists.txt",
                          fmt::format(R"(cmake_minimum_required(VERSION 3.28)
project(toy NONE)
file(WRITE ${{PROJECT_BINARY_DIR}}/folder "${{MMREC_SCHEDULE_DIR}} '${{MMREC_SCHEDULE}}'")
add_custom_command(OUTPUT generators/kernel.o DEPENDS {0}
  COMMAND ${{CMAKE_COMMAND}} -E copy {0} generators/kernel.o
  COMMAND ${{CMAKE_COMMAND}} -E touch generators/kernel.key)
add_custom_target(programs DEPENDS generators/kernel.o)
add_custom_target(test_workloads)
)",
                                      table().string()));
    const std::vector<std::string> configure{MMREC_CMAKE,
                                             "-G",
                                             "Ninja",
                                             "-S",
                                             tree_.source,
                                             "-B",
                                             tree_.build,
                                             fmt::format("-DCMAKE_MAKE_PROGRAM={}", MMREC_NINJA),
                                             "-DMMREC_SCHEDULE=poor"};
    EXPECT_EQ(run_command({configure, directory_ / "output"}).code, 0)
        << read_file(directory_ / "output");
  }

  /// What the tests of an operation do; those of the others pass.
  void write_test(const std::string& op, const std::string& script) {
    scripts_[op] = script;
    std::string text = "#!/bin/sh\ncase \"$1\" in\n";
    for (const auto& [of, commands] : scripts_)
      text += fmt::format("  '--gtest_filter=*/{}_*') {} ;;\n", of, commands);
    const std::filesystem::path path = tree_.build / "bin/test_workloads";
    write_file_atomically(path, text + "esac\n");
    std::filesystem::permissions(path, std::filesystem::perms::owner_all);
  }
  std::filesystem::path table() const {
    return folder() / (Machine::current().microarchitecture + ".json");
  }
  void write_rows(const std::vector<TableRow>& rows) const {
    make_directory(folder());
    write_schedule_table(table(), {Machine::current().microarchitecture, rows});
  }
  TableRow row_here(const Call& call, const Instance& instance) {
    const Machine machine = Machine::current();
    TableRow row = row_of(call, instance, machine.cpu);
    row.isa = machine.isa;
    row.threads = machine.threads + 1;
    return row;
  }

  Tree tree_{directory_ / "source", directory_ / "build"};
  std::map<std::string, std::string> scripts_;
  Console quiet_{true};
};

TEST_F(TuneTree, ApplyBuildsWithTheTunersTables) {
  write_rows({row_here(product(512), tile(8))});
  EXPECT_EQ(apply_table_and_keep(tree_, quiet_), 1);
  EXPECT_EQ(read_file(tree_.build / "folder"), fmt::format("{} ''", folder().string()));
  EXPECT_TRUE(std::filesystem::exists(tree_.program_before()));
  const auto kept = std::filesystem::last_write_time(tree_.program_before());
  EXPECT_EQ(apply_table_and_keep(tree_, quiet_), 0);
  EXPECT_EQ(std::filesystem::last_write_time(tree_.program_before()), kept)
      << "nothing was built, and what was before is another";
  ::setenv("MMREC_SCHEDULE_DIR", "", 1);
  apply_table_and_keep(tree_, quiet_);
  EXPECT_EQ(read_file(tree_.build / "folder"), " ''");
}

/// Runs each apply in its own process, as two terminals would.
TEST_F(TuneTree, ConcurrentAppliesTakeTurns) {
  write_rows({row_here(product(512), tile(8))});
  const std::filesystem::path said = directory_ / "said";
  const auto apply_in_child = [&] {
    const pid_t child = ::fork();
    if (child != 0) return child;
    int code = 0;
    try {
      std::FILE* output = std::fopen(said.c_str(), "a");
      Console display(false, output);
      apply_table_and_keep(tree_, display);
      std::fclose(output);
    } catch (const std::exception& error) {
      std::fprintf(stderr, "%s\n", error.what());
      code = 1;
    }
    ::_exit(code);
  };
  for (int round = 0; round < 5; ++round) {
    const pid_t children[] = {apply_in_child(), apply_in_child()};
    for (const pid_t child : children) {
      int status = 0;
      ASSERT_EQ(::waitpid(child, &status, 0), child);
      EXPECT_EQ(status, 0) << "an apply failed beside another";
    }
    std::filesystem::remove(tree_.build / "generators/kernel.o");
  }
  EXPECT_NE(read_file(said).find("waiting for another build in " + tree_.build.string()),
            std::string::npos);
  EXPECT_EQ(apply_table_and_keep(tree_, quiet_), 1) << "the build folder is still good";
}

TEST_F(TuneTree, VerifyDropsFailingRows) {
  TableRow brother = row_here(product(64), tile(6));
  brother.instance = tile(4);
  write_rows({row_here(product(512), tile(6)), brother,
              row_here({"rmsnorm", "forward", {{"N", 64}, {"D", 48}}},
                       {"plain", {{"rows_per_task", "4"}}})});
  EXPECT_EQ(apply_table_and_keep(tree_, quiet_), 1);
  const auto kept = std::filesystem::last_write_time(tree_.program_before());
  Database mine = database();
  verify_kernels(tree_, mine, quiet_);
  ASSERT_EQ(mine.table().rows.size(), 1) << "rows of other numbers of threads are built too";
  EXPECT_EQ(mine.table().rows[0].call.op, "rmsnorm");
  EXPECT_EQ(read_file(tree_.build / "generators/kernel.o"), read_file(table())) << "not built anew";
  EXPECT_EQ(std::filesystem::last_write_time(tree_.program_before()), kept)
      << "the program of before is lost";

  write_test("rmsnorm", "exit 1");
  expect_error([&] { verify_kernels(tree_, mine, quiet_); }, {"rmsnorm", "not because of"});
}

TEST_F(TuneTree, VerifyFallsBackToTheNextBest) {
  {
    Database mine = database();
    mine.add(std::vector{timed_here(mine, product(512), kDefault, 1),
                         timed_here(mine, product(512), tile(4), 0.9, true),
                         timed_here(mine, product(512), tile(6), 0.8, true)});
    ASSERT_EQ(mine.row(product(512))->instance, tile(6));
  }
  write_test("gemm", fmt::format("! grep -q 'tile_rows' {}", table().string()));
  apply_table_and_keep(tree_, quiet_);
  Database mine = database();
  verify_kernels(tree_, mine, quiet_);
  EXPECT_EQ(mine.row(product(512))->instance, kDefault);
}

TEST_F(TuneTree, UnfinishedTestsDropNothing) {
  write_rows({row_here(product(512), tile(6))});
  apply_table_and_keep(tree_, quiet_);
  write_test("gemm", "kill -9 $$");
  Database mine = database();
  expect_error([&] { verify_kernels(tree_, mine, quiet_); },
               {"test_workloads of gemm", "signal 9"});
  EXPECT_EQ(database().table().rows.size(), 1);
}

// -------------------------------------------------------------------------------------------------
// program

TEST(TuneStep, RemembersTheLastSweep) {
  const TemporaryDirectory directory;
  const std::filesystem::path file = directory / "tune/swept.json";
  EXPECT_FALSE(read_swept_step(file));
  write_swept_step(file, {{"caf\xe9.json", 4, 128}, 3});
  const SweptStep swept = read_swept_step(file).value();
  EXPECT_EQ(swept.step.config, "caf\xe9.json");
  EXPECT_EQ(swept.step.batch, 4);
  EXPECT_EQ(swept.step.sequence, 128);
  EXPECT_EQ(swept.threads, 3);
  write_file_atomically(file, "{\"config\": \"mini\", \"batch\": 0}");
  expect_error([&] { read_swept_step(file); }, {"swept.json", "delete it"});
}

TEST(TuneCommand, Durations) {
  EXPECT_EQ(parse_duration("90"), 90);
  EXPECT_EQ(parse_duration("90s"), 90);
  EXPECT_EQ(parse_duration("1.5m"), 90);
  EXPECT_EQ(parse_duration("1h"), 3600);
  for (const char* wrong : {"", "m", "5x", "-3", "0", "5mm", "nan", "inf", "1e999", "infinity"})
    expect_error<UsageError>([&] { parse_duration(wrong); }, {"duration"});
}

TEST(TuneCommand, TakesCallsWithBfloat16FactorsWhereTheCpuCan) {
  const KernelEntry& nn = *default_kernels("gemm", "nn").front();
  KernelEntry bf16 = nn;
  bf16.dtype = registry::kBf16;
  const std::vector<const KernelEntry*> both{&nn, &bf16};
  const std::vector<StepCall> calls = calls_of_shape(both, "8x16x32");
  std::vector<std::string> names;
  for (const StepCall& call : calls) names.push_back(call_string(call.call));
  std::vector<std::string> expected{"gemm.nn 8x16x32"};
  if (why_no_bf16().empty()) expected.push_back("gemm.nn bf16 8x16x32");
  EXPECT_EQ(names, expected);
}

class TuneProgram : public testing::Test {
 protected:
  TuneProgram() { ::setenv("MMREC_SCHEDULE_DIR", directory_.path().c_str(), 1); }
  ~TuneProgram() override { ::unsetenv("MMREC_SCHEDULE_DIR"); }

  Command sweep() const {
    return {{(std::filesystem::path(MMREC_BINARY_DIR) / "tune").string(), "sweep", "--op",
             "rmsnorm", "--pass", "backward", "--shape", "64x48", "--budget", "10m"},
            directory_ / "output"};
  }
  std::string output() const { return read_file(directory_ / "output"); }
  std::filesystem::path log() const { return directory_ / (Machine::current().cpu + ".log.jsonl"); }
  std::vector<Verdict> verdicts() const {
    return Log(log(), [](const std::string&) {}).verdicts();
  }

  /// Starts a sweep, and kills it when its log has `lines` lines.
  void kill_in_the_middle(size_t lines) const {
    Command command = sweep();
    std::vector<char*> words;
    for (std::string& word : command.words) words.push_back(word.data());
    words.push_back(nullptr);
    const pid_t sweeper = ::fork();
    if (sweeper == 0) {
      ::close(STDOUT_FILENO);
      ::execv(words[0], words.data());
      ::_exit(127);
    }
    int status = 0;
    while (verdicts().size() < lines && ::waitpid(sweeper, &status, WNOHANG) == 0)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    ::kill(sweeper, SIGKILL);
    ::waitpid(sweeper, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status)) << "it had ended before";
  }

  TemporaryDirectory directory_;
};

// A killed sweep loses only the work in progress. The next sweep continues from the log, even if
// the log has broken lines.
TEST_F(TuneProgram, ResumesAfterAKill) {
  kill_in_the_middle(3);
  const size_t before = verdicts().size();
  ASSERT_GE(before, 3);
  AppendFile(log()).append("no JSON\n{\"time\": \"2026-11-2");
  ASSERT_EQ(run_command(sweep()).code, 0) << output();
  for (const size_t line : {before + 1, before + 2})
    EXPECT_NE(output().find(fmt::format("{}:{}: skipped", log().string(), line)), std::string::npos)
        << output();
  const auto expect_timed_once = [&] {
    std::map<Instance, int> times;
    for (const Verdict& verdict : verdicts())
      if (verdict.instance != Instance{"plain", {}} && verdict.instance != verdict.incumbent &&
          !verdict.wins)
        ++times[verdict.instance];
    EXPECT_GE(times.size(), 5) << "a search tries the defaults' neighbours at least";
    for (const auto& [instance, count] : times)
      EXPECT_EQ(count, 1) << instance.string() << " was timed again";
  };
  expect_timed_once();

  const ScheduleTable table = read_schedule_table(
      directory_ / (Machine::current().microarchitecture + ".json"), "", [](const std::string&) {});
  ASSERT_EQ(table.rows.size(), 1);
  EXPECT_EQ(table.rows[0].call, call_of("rmsnorm", "backward", {64, 48}));
  ASSERT_EQ(run_command(sweep()).code, 0) << output();
  expect_timed_once();  // the times decide which further instances are tried
}

// An instance that timed out on a busy machine is tried again. Otherwise the first instance that
// compiles would win without a race.
TEST_F(TuneProgram, RetriesSlowCompilations) {
  Command hurried = sweep();
  hurried.words.insert(hurried.words.end(), {"--compile-limit", "0.01"});
  ASSERT_EQ(run_command(hurried).code, 0) << output();
  const auto count = [this](Status status) {
    return std::ranges::count(verdicts(), status, &Verdict::status);
  };
  EXPECT_GT(count(Status::kSlowCompile), 0);
  const auto before = count(Status::kOk);
  ASSERT_EQ(run_command(sweep()).code, 0) << output();
  EXPECT_GT(count(Status::kOk), before + 3);
}

// The end of the budget stops a compilation, and the log does not call that compilation too slow.
TEST_F(TuneProgram, BudgetEndsCompilations) {
  Command brief = sweep();
  brief.words.back() = "0.05s";
  const auto begin = std::chrono::steady_clock::now();
  ASSERT_EQ(run_command(brief).code, 0) << output();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(30));
  for (const Verdict& verdict : verdicts())
    EXPECT_TRUE(verdict.timed()) << status_name(verdict.status);
}

TEST_F(TuneProgram, ShowWritesNothing) {
  Command show{{sweep().words.front(), "show"}, directory_ / "output"};
  ASSERT_EQ(run_command(show).code, 0) << output();
  EXPECT_FALSE(std::filesystem::exists(log()));
  const std::filesystem::path table = directory_ / (Machine::current().microarchitecture + ".json");
  TableRow row = row_of(product(512), tile(6));
  TableRow unknown = row;
  unknown.call = {"convolution", "forward", {{"N", 3}, {"C", 4}}};
  write_schedule_table(table, {"cores", {row, unknown}});
  ASSERT_EQ(run_command(show).code, 0) << output();
  EXPECT_NE(output().find("gemm.nt 512x128x32 "), std::string::npos) << output();
  EXPECT_NE(output().find("convolution.forward 4x3 "), std::string::npos) << output();
  Command of_gemm = show;
  of_gemm.words.insert(of_gemm.words.end(), {"--op", "gemm"});
  ASSERT_EQ(run_command(of_gemm).code, 0) << output();
  EXPECT_NE(output().find("gemm.nt 512x128x32 "), std::string::npos) << output();
  EXPECT_EQ(output().find("convolution"), std::string::npos) << output();
  // Both variants are built. Only the variant that serves the call changes.
  const std::string pending = "not built yet: tune apply";
  for (const KernelEntry* kernel : default_kernels("gemm", "nt")) {
    if (kernel->dtype != std::string_view(registry::kFloat32)) continue;  // serves no such call
    TableRow mine = row_of(product(512), {kernel->variant, {}}, Machine::current().cpu);
    mine.isa = Machine::current().isa;
    mine.threads = available_threads();
    mine.lowered = kernel->lowered;
    write_schedule_table(table, {"cores", {mine}});
    ASSERT_EQ(run_command(show).code, 0) << output();
    EXPECT_EQ(output().find(pending) == std::string::npos,
              chosen_instance(mine.call) == mine.instance)
        << output();
  }
  write_file_atomically(table, "broken");
  EXPECT_EQ(run_command(show).code, 1);
  EXPECT_NE(output().find("no table of schedules"), std::string::npos) << output();
  EXPECT_EQ(read_file(table), "broken");
}

TEST_F(TuneProgram, CopiedProgramRefusesToWrite) {
  const TemporaryDirectory elsewhere;
  std::filesystem::copy_file(std::filesystem::path(MMREC_BINARY_DIR) / "tune", elsewhere / "tune");
  const std::filesystem::path said = elsewhere / "said";
  EXPECT_EQ(run_command({{elsewhere / "tune", "apply"}, said}, 60).code, 1);
  for (const std::string part : {"was built for", "make build"})
    EXPECT_NE(read_file(said).find(part), std::string::npos) << read_file(said);
}

TEST_F(TuneProgram, WrongUse) {
  const std::string program = (std::filesystem::path(MMREC_BINARY_DIR) / "tune").string();
  using Words = std::vector<std::string>;
  for (const auto& [words, message] :
       {std::pair(Words{}, "a command is missing"),
        {Words{"sweep", "--op", "gem"}, "gemm"},
        {Words{"swep"}, "sweep"},
        {Words{"sweep", "--op", "gemm", "--shape", "512x128"}, "3 sizes, M N K"},
        {Words{"sweep", "--op", "gemm", "--shape", "5a"}, "--shape"},
        {Words{"sweep", "--budget", "5x"}, "duration"},
        {Words{"sweep", "--budget", "inf"}, "duration"},
        {Words{"sweep", "--budget=-5"}, "duration"}}) {
    Command command{{program}, directory_ / "output"};
    command.words.insert(command.words.end(), words.begin(), words.end());
    EXPECT_EQ(run_command(command).code, 2) << output();
    EXPECT_NE(output().find(message), std::string::npos) << output();
  }
}

}  // namespace
}  // namespace mmrec::tune

int main(int argc, char** argv) {
  if (argc == 3 && std::strcmp(argv[1], mmrec::tune::kCandidateCommand) == 0)
    return mmrec::tune::candidate_main(argv[2]);
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
