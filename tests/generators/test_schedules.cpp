#include <gtest/gtest.h>
#include <sys/wait.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <regex>

#include "generators/registry/build_description.h"
#include "runtime/threads.h"
#include "support/atomic_file.h"
#include "tests/common/expect_error.h"
#include "tests/common/temporary_directory.h"

// Tests which rows of the schedule tables a build uses, and what a generator program emits for
// them. Uses dropout's program, with tables written by the tests.
namespace mmrec::registry {
namespace {

namespace fs = std::filesystem;
using Strings = std::vector<std::string>;

/// Returns a table row for dropout forward.
TableRow row(int tasks, std::map<std::string, int> sizes = {{"N", 64}, {"D", 32}}) {
  return {.call = {"dropout", "forward", std::move(sizes)},
          .isa = "avx2",
          .threads = 1,
          .cpu = "this_cpu",
          .instance = {"plain", {{"rows_per_task", std::to_string(tasks)}}},
          .seconds = 1,
          .default_seconds = 1,
          .halide = "21.0.0",
          .lowered = "0",
          .date = "2026-11-27"};
}

TableRow changed(TableRow row, const std::function<void(TableRow&)>& change) {
  change(row);
  return row;
}

constexpr const char* kTarget =
    "x86-64-linux-avx2-fma-f16c-sse41-avx-no_asserts-no_bounds_query-no_runtime";
const BuildDescription kBuild{.target = kTarget,
                              .halide = "21.0.0",
                              .isa = "avx2",
                              .cpu = "this_cpu",
                              .microarchitecture = "this_arch",
                              .tables = {}};

/// Returns the used rows of dropout's forward pass with two threads, in the form "4 at 64x32 by cpu
/// this_cpu".
Strings used(const std::vector<ScheduleTable>& tables, const BuildDescription& build = kBuild) {
  Strings all;
  for (const UsedRow& one : used_rows(build, tables, "dropout", "forward", "f32", 2))
    all.push_back(fmt::format("{} at {}x{} by {}", one.row.instance.params.at("rows_per_task"),
                              one.row.call.sizes.at("N"), one.row.call.sizes.at("D"), one.level));
  return all;
}

TEST(UsedRows, HigherLevelReplacesLowerLevels) {
  const std::map<std::string, int> far{{"N", 640}, {"D", 32}};
  const auto brother = [](TableRow row) {
    return changed(std::move(row), [](TableRow& r) { r.cpu = "its_brother"; });
  };
  const ScheduleTable other{"other_arch", {row(4), row(8, far)}}, third{"third_arch", {row(32)}};
  EXPECT_TRUE(used({}).empty());
  EXPECT_EQ(used({other, third}), (Strings{"4 at 64x32 by ISA tier avx2 (from other_arch)",
                                           "8 at 640x32 by ISA tier avx2 (from other_arch)"}))
      << "the first of the tables of other microarchitectures";
  EXPECT_EQ(used({other, {"this_arch", {brother(row(64))}}}),
            Strings{"64 at 64x32 by microarchitecture this_arch"});
  EXPECT_EQ(used({other, {"this_arch", {brother(row(64, far)), row(32)}}}),
            Strings{"32 at 64x32 by cpu this_cpu"});
  EXPECT_EQ(used({{"this_arch", {row(32)}}, other}), Strings{"32 at 64x32 by cpu this_cpu"});
  EXPECT_TRUE(
      used({{"this_arch", {changed(row(4), [](TableRow& r) { r.isa = "avx512"; })}}}).empty())
      << "another tier's row was taken";
  EXPECT_TRUE(
      used({{"this_arch", {changed(row(4), [](TableRow& r) { r.call.pass = "backward"; })}}})
          .empty());
  const auto bf16 = [](TableRow row) {
    return changed(std::move(row), [](TableRow& r) { r.call.dtype = "bf16"; });
  };
  EXPECT_EQ(used({{"this_arch", {bf16(row(64)), row(32)}}}), Strings{"32 at 64x32 by cpu this_cpu"})
      << "a row of another type hides a row";
  EXPECT_EQ(used({other, {"this_arch", {bf16(row(64))}}}).size(), 2u)
      << "a level with rows of another type only hides the next level";
}

TEST(UsedRows, PreferTheMachinesThreadCount) {
  const auto threads = [](int count, TableRow row) {
    return changed(std::move(row), [&](TableRow& r) { r.threads = count; });
  };
  EXPECT_EQ(used({{"this_arch", {threads(3, row(4)), threads(2, row(8)), threads(4, row(32))}}}),
            Strings{"8 at 64x32 by cpu this_cpu"});
  EXPECT_EQ(used({{"this_arch", {threads(3, row(4)), threads(4, row(32))}}}),
            Strings{"4 at 64x32 by cpu this_cpu"})
      << "else the first";
  EXPECT_EQ(used({{"this_arch", {threads(2, row(4))}}, {"this_arch", {threads(2, row(32))}}}),
            Strings{"4 at 64x32 by cpu this_cpu"})
      << "the user's table is the first";
  EXPECT_EQ(used({{"this_arch", {threads(1, row(4))}}, {"this_arch", {threads(2, row(32))}}}),
            Strings{"4 at 64x32 by cpu this_cpu"})
      << "also with another number of threads";
}

TEST(UsedRows, NamedTableServesAnyMachine) {
  BuildDescription only = kBuild;
  only.only_table = true;
  EXPECT_EQ(used({{"poor", {changed(row(4), [](TableRow& r) { r.cpu = "poor"; })}}}, only),
            Strings{"4 at 64x32 by table poor"});
}

TEST(BuildDescription, IsReadBack) {
  const test::TemporaryDirectory directory;
  write_file_atomically(directory / "build.txt",
                        "target a-b\nhalide 21.0.0\nisa avx2\ncpu c\nmicroarchitecture m\ntable "
                        "/with space/a.json\ntable b.json\n");
  const BuildDescription build = read_build_description(directory / "build.txt");
  EXPECT_EQ(build.target, "a-b");
  EXPECT_EQ(build.tables, (std::vector<fs::path>{"/with space/a.json", "b.json"}));
  EXPECT_FALSE(build.only_table);
  EXPECT_FALSE(build.software_bf16);
  write_file_atomically(
      directory / "build.txt",
      "target a-b\nhalide 21.0.0\nisa avx2\ncpu c\nmicroarchitecture m\nsoftware_bf16 yes\n");
  EXPECT_TRUE(read_build_description(directory / "build.txt").software_bf16);
  write_file_atomically(directory / "build.txt", "target a\n");
  test::expect_error([&] { read_build_description(directory / "build.txt"); },
                     {"build.txt", "it has no"});
  write_file_atomically(directory / "build.txt", "tarjet a\n");
  test::expect_error([&] { read_build_description(directory / "build.txt"); }, {"tarjet"});
}

// -------------------------------------------------------------------------------------------------
// the program

class GeneratorProgram : public testing::Test {
 protected:
  void SetUp() override { describe({table()}); }

  fs::path table() const { return directory_ / "this_arch.json"; }
  fs::path out() const { return directory_ / "out"; }

  void describe(const std::vector<fs::path>& tables, const std::string& target = kTarget,
                const std::string& microarchitecture = "this_arch") const {
    std::string text =
        fmt::format("target {}\nhalide 21.0.0\nisa avx2\ncpu this_cpu\nmicroarchitecture {}\n",
                    target, microarchitecture);
    for (const fs::path& path : tables) text += fmt::format("table {}\n", path.string());
    write_file_atomically(directory_ / "build.txt", text);
  }
  void write(const std::vector<TableRow>& rows) const {
    write_schedule_table(table(), {"this_arch", rows});
  }

  /// Runs an operation's program and returns its standard output and error. The test fails if the
  /// program fails.
  std::string run(const std::string& options, const std::string& op = "dropout") const {
    const fs::path said = directory_ / "said";
    const int status = std::system(fmt::format("{0}/{1}/{1}_generator {2} > {3} 2>&1",
                                               MMREC_GENERATORS_DIR, op, options, said.string())
                                       .c_str());
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << options << "\n"
                                                               << read_file(said);
    return read_file(said);
  }
  std::string emit(const std::string& op = "dropout") const {
    return run(fmt::format("--emit {} {}", (directory_ / "build.txt").string(), out().string()),
               op);
  }

  /// Returns the emitted instances of the forward pass, in the form
  /// "dropout_plain_forward_rows_per_task4 'rows_per_task=4'".
  Strings instances() const {
    const std::string text = read_file(out() / "kernels.inc");
    Strings all;
    const std::regex line(R"re(MMREC_INSTANCE\((\w+), dropout, forward, plain, f32, )re"
                          R"re("([^"]*)", "[0-9a-f]{16}"\))re");
    for (std::sregex_iterator it(text.begin(), text.end(), line), end; it != end; ++it)
      all.push_back(fmt::format("{} '{}'", (*it)[1].str(), (*it)[2].str()));
    return all;
  }
  /// Returns the emitted rows, in the form "dropout_plain_forward at 64, 32 by cpu this_cpu", after
  /// that ", on zen" if they are for certain CPUs.
  Strings rows() const {
    const std::string text = read_file(out() / "kernels.inc");
    Strings all;
    const std::regex line(R"re(MMREC_SCHEDULE_ROW\((\w+), "(.*)", "(.*)", (.*)\))re");
    for (std::sregex_iterator it(text.begin(), text.end(), line), end; it != end; ++it) {
      const std::string cpus = (*it)[2].str();
      all.push_back(fmt::format("{} at {} by {}{}", (*it)[1].str(), (*it)[4].str(), (*it)[3].str(),
                                cpus.empty() ? "" : ", on " + cpus));
    }
    return all;
  }
  std::string lowered_of(const std::string& instance) const {
    const std::string text = read_file(out() / "kernels.inc");
    std::smatch found;
    EXPECT_TRUE(
        std::regex_search(text, found, std::regex("\\(" + instance + ",.*\"([0-9a-f]{16})\"\\)")))
        << instance;
    return found[1];
  }
  /// Runs --emit and returns the kernels that it compiles, in alphabetical order.
  Strings compiled() const {
    const auto times = [&] {
      std::map<std::string, fs::file_time_type> times;
      for (const auto& entry : fs::directory_iterator(out()))
        if (entry.path().extension() == ".o") times[entry.path().stem()] = entry.last_write_time();
      return times;
    };
    fs::create_directories(out());
    const auto before = times();
    emit();
    Strings all;
    for (const auto& [name, time] : times())
      if (!before.contains(name) || before.at(name) != time) all.push_back(name);
    return all;
  }

  test::TemporaryDirectory directory_;
};

const std::string kForward = "dropout_plain_forward",
                  kOld = " by cpu this_cpu (measured with other code)";

TEST_F(GeneratorProgram, EmitsTheInstancesOfTheTables) {
  EXPECT_EQ(emit(), "") << "a table that is not there is an empty one";
  EXPECT_EQ(instances(), Strings{kForward + " ''"});
  write({row(4), row(64, {{"N", 640}, {"D", 32}}), row(16, {{"N", 7}, {"D", 5}}),
         row(4, {{"N", 8}, {"D", 8}})});
  EXPECT_EQ(emit(), "");
  EXPECT_EQ(instances(), (Strings{kForward + " ''", kForward + "_rows_per_task4 'rows_per_task=4'",
                                  kForward + "_rows_per_task64 'rows_per_task=64'"}));
  EXPECT_EQ(rows(),
            (Strings{kForward + " at 7, 5" + kOld, kForward + "_rows_per_task4 at 8, 8" + kOld,
                     kForward + "_rows_per_task4 at 64, 32" + kOld,
                     kForward + "_rows_per_task64 at 640, 32" + kOld}))
      << "sizes stand as the operation has them, and a parameter that is the default is none";
  const std::string archive = read_file(out() / "kernels.a");
  for (const char* instance :
       {"dropout_plain_forward_argv", "dropout_plain_forward_rows_per_task64_metadata",
        "dropout_plain_backward_argv"})
    EXPECT_NE(archive.find(fmt::format("mmrec_avx2_{}", instance)), archive.npos) << instance;
}

// A row is stale if its kernel is now lowered to other code than when it was measured, or is
// compiled by another version of Halide.
TEST_F(GeneratorProgram, MarksStaleRows) {
  write({row(4)});
  emit();
  const std::string lowered = lowered_of(kForward + "_rows_per_task4");
  EXPECT_NE(lowered, lowered_of(kForward));
  const std::string fresh = kForward + "_rows_per_task4 at 64, 32 by cpu this_cpu";
  const TableRow today = changed(row(4), [&](TableRow& r) { r.lowered = lowered; });
  write({today});
  emit();
  EXPECT_EQ(rows()[0], fresh);
  EXPECT_EQ(lowered_of(kForward + "_rows_per_task4"), lowered)
      << "the fingerprint depends on what else there is";
  write({changed(today, [](TableRow& r) { r.halide = "20.0.0"; })});
  emit();
  EXPECT_EQ(rows()[0], fresh + " (measured with other code)");
  write({changed(today, [](TableRow& r) { r.lowered = ""; })});
  emit();
  EXPECT_EQ(rows()[0], fresh + " (measured with other code)");
  describe({table()}, "x86-64-linux-avx2-fma-f16c-sse41-avx-no_bounds_query-no_runtime");
  write({today});
  emit();
  EXPECT_EQ(rows()[0], fresh) << "tables have the fingerprints of code without assertions";
}

// A build for any CPU has the rows of all, between which the process chooses.
TEST_F(GeneratorProgram, ABuildForAnyCpuHasTheRowsOfAll) {
  const fs::path other = directory_ / "other_arch.json", third = directory_ / "third_arch.json";
  write({row(4)});
  write_schedule_table(other, {"other_arch", {row(64)}});
  const TableRow of_other_tier = changed(row(8), [](TableRow& r) { r.isa = "avx"; });
  write_schedule_table(third, {"third_arch", {of_other_tier}});
  describe({table(), other, third}, kTarget, "generic");
  EXPECT_EQ(emit(), "");
  EXPECT_EQ(instances(), (Strings{kForward + " ''", kForward + "_rows_per_task4 'rows_per_task=4'",
                                  kForward + "_rows_per_task64 'rows_per_task=64'"}));
  const std::string other_tier = " by ISA tier avx2 (from this_arch) (measured with other code)";
  EXPECT_EQ(rows(), (Strings{kForward + "_rows_per_task4 at 64, 32" + other_tier,
                             kForward + "_rows_per_task4 at 64, 32" + kOld + ", on this_arch",
                             kForward + "_rows_per_task64 at 64, 32" + kOld + ", on other_arch"}));
}

TEST_F(GeneratorProgram, CompilesOnlyWhatChanged) {
  EXPECT_EQ(compiled(), (Strings{"dropout_plain_backward", kForward}));
  EXPECT_EQ(compiled(), Strings{});
  const auto archived = fs::last_write_time(out() / "kernels.a");
  write({row(4)});
  EXPECT_EQ(compiled(), Strings{kForward + "_rows_per_task4"});
  EXPECT_NE(fs::last_write_time(out() / "kernels.a"), archived);
  write({row(64)});
  EXPECT_EQ(compiled(), Strings{kForward + "_rows_per_task64"});
  write({row(4), row(64, {{"N", 7}, {"D", 5}})});
  EXPECT_EQ(compiled(), Strings{}) << "both were compiled before";
  fs::remove(out() / (kForward + ".o"));
  EXPECT_EQ(compiled(), Strings{}) << "nothing has changed, and the archive has it";
  write({row(4)});
  EXPECT_EQ(compiled(), Strings{kForward});
}

TEST_F(GeneratorProgram, BadTablesDoNotBreakTheBuild) {
  const struct {
    std::function<void(TableRow&)> change;
    std::string message;
  } wrong[] = {
      {[](TableRow& r) { r.call.pass = "sideways"; },
       "the registry has no kernel 'dropout sideways plain f32'"},
      {[](TableRow& r) { r.instance.variant = "splendid"; },
       "the registry has no kernel 'dropout forward splendid f32'"},
      {[](TableRow& r) { r.call.dtype = "f64"; },
       "the registry has no kernel 'dropout forward plain f64'"},
      {[](TableRow& r) { r.call.sizes.erase("N"); }, "its sizes are not N D"},
      {[](TableRow& r) { r.call.sizes["K"] = 1; }, "its sizes are not N D"},
      {[](TableRow& r) { r.instance.params = {{"rolled", "4"}}; },
       "the generator has no parameter 'rolled'"},
      {[](TableRow& r) { r.instance.params = {{"(", "4"}}; }, "the generator has no parameter '('"},
      {[](TableRow& r) { r.instance.params = {{"rows_per_task", "3"}}; },
       "rows_per_task is none of 4, 8, 16, 32, 64"},
      {[](TableRow& r) { r.instance.params = {{"rows_per_task", "many"}}; },
       "rows_per_task is none of 4, 8, 16, 32, 64"},
  };
  const TableRow good = row(4, {{"N", 7}, {"D", 32}});
  for (const auto& [change, message] : wrong) {
    write({good, changed(row(8), change)});
    const std::string said = emit();
    const bool readable =
        message.find("sizes") == message.npos;  // the reader of the table checks the sizes
    if (readable) {
      EXPECT_NE(said.find("this_arch.json: a row is left out, " + message), said.npos)
          << message << "\n"
          << said;
    }
    EXPECT_EQ(instances().size(), 2) << message;
    EXPECT_EQ(rows(), Strings{kForward + "_rows_per_task4 at 7, 32" + kOld}) << message;
  }
  const std::string deep = "{\"rows\": " + std::string(5000, '[') + std::string(5000, ']') + "}";
  for (const std::string& text :
       {std::string(), std::string("{\"rows\": ["), std::string("[]"), std::string("{\"rows\": 3}"),
        std::string("{\"kernels\": {}}"), std::string("\xff\xfe"),
        std::string("{\"rows\": [3, {}, null]}"), deep}) {
    write_file_atomically(table(), text);
    emit();
    EXPECT_EQ(instances(), Strings{kForward + " ''"}) << text.substr(0, 40);
  }
}

// The blocked scan composes steps before it adds them, so its bits are not those of the serial one.
TEST_F(GeneratorProgram, LeavesOutRowsThatWouldChangeTheBits) {
  const auto scan = [](int T, int D, const std::string& variant) {
    return changed(row(4), [&](TableRow& r) {
      r.call = {"affine_scan", "forward", {{"R", 1}, {"T", T}, {"D", D}}};
      r.instance = {variant, {}};
    });
  };
  write({scan(128, 64, "serial"), scan(128, 32, "blocked"), scan(4096, 2, "serial"),
         scan(4096, 1, "blocked")});
  const std::string said = emit("affine_scan");
  EXPECT_EQ(rows(), (Strings{"affine_scan_serial_forward at 1, 128, 64" + kOld,
                             "affine_scan_blocked_forward at 1, 4096, 1" + kOld}));
  for (const char* message : {"blocked adds in another order than serial, which serves",
                              "serial adds in another order than blocked, which serves"})
    EXPECT_NE(said.find(message), said.npos) << said;
}

TEST_F(GeneratorProgram, DescribesItsKernels) {
  const nlohmann::json kernels = nlohmann::json::parse(run("--describe"));
  ASSERT_EQ(kernels.size(), 2);
  EXPECT_EQ(kernels[0].at("op"), "dropout");
  EXPECT_EQ(kernels[0].at("pass"), "forward");
  EXPECT_EQ(kernels[0].at("generator"), "dropout_plain_forward");
  EXPECT_EQ(
      kernels[0].at("parameters")[0],
      (nlohmann::json{{"name", "rows_per_task"}, {"default", 16}, {"values", {4, 8, 16, 32, 64}}}));
}

TEST_F(GeneratorProgram, InspectWritesCode) {
  emit();
  run(fmt::format("--inspect {} {} {}", (directory_ / "build.txt").string(), out().string(),
                  kForward));
  for (const char* suffix : {".stmt", ".s", ".ll"})
    EXPECT_GT(fs::file_size(out() / (kForward + suffix)), 100) << suffix;
}

}  // namespace
}  // namespace mmrec::registry
