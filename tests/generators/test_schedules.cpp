#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

#include "runtime/threads.h"
#include "support/atomic_file.h"
#include "tests/common/temporary_directory.h"

// The schedule tables as the configuration reads them, in a small project with kernels of its own: which rows serve, what is said of
// wrong ones, and what is compiled anew.
namespace mmrec {
namespace {

namespace fs = std::filesystem;

constexpr const char* kProject = R"(
cmake_minimum_required(VERSION 3.28)
project(small LANGUAGES CXX)
set(CMAKE_CXX_STANDARD 20)
list(APPEND CMAKE_MODULE_PATH ${PROJECT_SOURCE_DIR}/cmake)
include(Tools)
include(CpuTarget)
find_package(Halide 21 REQUIRED)
add_subdirectory(generators)
)";

constexpr const char* kRegistry = R"(
include(MmrecKernel)
add_compile_options(-O0)
add_halide_runtime(mmrec_halide_runtime NO_DEFAULT_TARGETS TARGETS ${MMREC_TARGET})
mmrec_op(toy PASSES forward backward SIZES N D)
mmrec_kernel(toy plain)
mmrec_kernel(toy other)
mmrec_op(bare PASSES forward)
mmrec_kernel(bare plain GENERATOR toy_other)
mmrec_registry(mmrec_kernels mmrec_generators)
)";

/// Inherits rows_per_task and columns_per_task; `unroll` is declared over several lines.
constexpr const char* kPlain = R"(
#include "generators/common/kernel_generator.h"
namespace mmrec::generators {
template <class T>
class Toy : public KernelGenerator<T> {
 public:
  Tunable unroll{
      this, "unroll", 2,
      {1, 2, 4}};  // any
  GeneratorInput<Buffer<float, 2>> x{"x"};
  GeneratorOutput<Buffer<float, 2>> y{"y"};
  void generate() {
    Var d("d"), n("n");
    y(d, n) = 2.f * x(d, n);
    this->schedule_rows(y, d, n);
    y.unroll(d, int(unroll), TailStrategy::GuardWithIf);
  }
};
class ToyForward : public Toy<ToyForward> {};
class ToyBackward : public Toy<ToyBackward> {
 public:
  Tunable depth{this, "depth", -1, {-1, 8}};
};
}  // namespace mmrec::generators
HALIDE_REGISTER_GENERATOR(mmrec::generators::ToyForward, toy_plain_forward)
HALIDE_REGISTER_GENERATOR(mmrec::generators::ToyBackward, toy_plain_backward)
)";

constexpr const char* kOther = R"(
#include "generators/common/kernel_generator.h"
namespace mmrec::generators {
class OtherForward : public KernelGenerator<OtherForward> {
 public:
  Input<Buffer<float, 1>> x{"x"};
  Output<Buffer<float, 1>> y{"y"};
  void generate() {
    Var d("d");
    y(d) = x(d) + 1.f;
  }
};
}  // namespace mmrec::generators
HALIDE_REGISTER_GENERATOR(mmrec::generators::OtherForward, toy_other_forward)
)";

/// What a command says on both outputs, in one line; a failing one fails the test.
std::string output_of(const std::string& command) {
  FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
  std::string output;
  char buffer[4096];
  for (size_t n; pipe && (n = std::fread(buffer, 1, sizeof(buffer), pipe)) > 0;) output.append(buffer, n);
  const int status = pipe ? ::pclose(pipe) : -1;
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << command << "\n" << output;
  return std::regex_replace(output, std::regex("[ \n]+"), " ");
}

/// A row of a table for toy forward; `changes` replace parts of it.
std::string row(const std::vector<std::pair<std::string, std::string>>& changes = {}) {
  std::string text =
      R"({"op": "toy", "pass": "forward", "sizes": {"N": 64, "D": 32}, "isa": "avx2", "threads": 1, "cpu": "this_cpu", "variant": "plain", )"
      R"("params": {"unroll": 4}, "halide": "HALIDE", "source": "SOURCE"})";
  for (const auto& [part, by] : changes) {
    EXPECT_NE(text.find(part), text.npos) << part;
    text.replace(text.find(part), part.size(), by);
  }
  return text;
}

class Schedules : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* folder : {"generators/schedules", "users"}) fs::create_directories(root() / folder);
    for (const char* shared : {"cmake", "runtime", "support", "generators/common"}) fs::create_symlink(fs::path(MMREC_SOURCE_DIR) / shared, root() / shared);
    write_file_atomically(root() / "CMakeLists.txt", kProject);
    write_file_atomically(root() / "generators/CMakeLists.txt", kRegistry);
    write_file_atomically(root() / "generators/toy_plain_generator.cpp", kPlain);
    write_file_atomically(root() / "generators/toy_other_generator.cpp", kOther);
    configure();
    const std::string build = read("kernel_build.inc");
    std::smatch found;
    ASSERT_TRUE(std::regex_search(build, found, std::regex(R"re(toy, forward, plain, "toy_plain_forward", "", false, "([0-9a-f]{16})")re"))) << build;
    source_ = found[1];
  }

  fs::path root() const { return directory_.path(); }

  std::string configure(const std::string& options = "") {
    return output_of(
        fmt::format("'{}' -G Ninja -S '{}' -B '{}' -DCMAKE_BUILD_TYPE=Release -DCMAKE_MAKE_PROGRAM='{}' -DCMAKE_CXX_COMPILER='{}' "
                    "-DHalide_DIR='{}' -DHalideHelpers_DIR='{}' -DMMREC_TARGET=x86-64-linux-avx2-fma-f16c-sse41-avx -DMMREC_CPU=this_cpu "
                    "-DMMREC_MICROARCHITECTURE=this_arch -DMMREC_SCHEDULE_DIR='{}' -DMMREC_SCHEDULE= {}",
                    MMREC_CMAKE, root().string(), (root() / "build").string(), MMREC_NINJA, MMREC_COMPILER, MMREC_HALIDE_DIR,
                    MMREC_HALIDE_HELPERS_DIR, (root() / "users").string(), options));
  }

  /// Rows are given the present source and version of Halide where they say SOURCE and HALIDE.
  void write_table(const std::string& file, const std::vector<std::string>& rows) const {
    std::string text = "{\"microarchitecture\": \"any\",\n \"rows\": [\n";
    for (const std::string& row : rows) text += "  " + row + (&row == &rows.back() ? "\n" : ",\n");
    text = std::regex_replace(text + " ]}\n", std::regex("SOURCE"), source_);
    write_file_atomically(root() / file, std::regex_replace(text, std::regex("HALIDE"), MMREC_HALIDE_VERSION));
  }

  std::string read(const std::string& file) const { return read_file(root() / "build/generators/include" / file); }

  /// "toy_plain_forward_unroll4 'unroll=4' by cpu this_cpu", ..: the instances of toy's forward pass.
  std::vector<std::string> instances() const {
    std::vector<std::string> result;
    const std::string text = read("kernels.inc");
    const std::regex line(R"re(MMREC_KERNEL\((\w+), toy, forward, \w+, "([^"]*)", "([^"]*)")re");
    for (std::sregex_iterator it(text.begin(), text.end(), line), end; it != end; ++it)
      result.push_back(fmt::format("{} '{}' by {}", (*it)[1].str(), (*it)[2].str(), (*it)[3].str()));
    return result;
  }

  /// "toy_plain_forward_unroll4, 64,32", ..
  std::vector<std::string> rows() const {
    std::vector<std::string> result;
    const std::string text = read("schedule_rows.inc");
    const std::regex line(R"(MMREC_SCHEDULE_ROW\((.*)\))");
    for (std::sregex_iterator it(text.begin(), text.end(), line), end; it != end; ++it) result.push_back((*it)[1]);
    return result;
  }

  /// The kernels that a build of all of them compiles, in alphabetical order.
  std::vector<std::string> compiled() const {
    const std::string output =
        output_of(fmt::format("'{}' -C '{}' -v toy_plain_forward toy_plain_backward", MMREC_NINJA, (root() / "build").string()));
    std::vector<std::string> result;
    const std::regex command(" -n (toy_\\w+) -d ");
    for (std::sregex_iterator it(output.begin(), output.end(), command), end; it != end; ++it) result.push_back((*it)[1]);
    std::ranges::sort(result);
    return result;
  }

 private:
  test::TemporaryDirectory directory_;
  std::string source_;
};

using Strings = std::vector<std::string>;

/// Of this project: CMake puts (message) behind its place, and (find_package) behind what packages warn of.
const std::string kWarning = "(message)";
constexpr const char* kPlainInstance = "toy_plain_forward '' by generator default";
constexpr const char* kOtherInstance = "toy_other_forward '' by generator default";
constexpr const char* kMine = "generators/schedules/this_arch.json";

bool says(const std::string& output, const std::string& part) { return output.find(part) != output.npos; }

TEST_F(Schedules, LookUp) {
  const std::string far = "{\"N\": 640, \"D\": 32}", near = "{\"N\": 64, \"D\": 32}";
  std::string output = configure();
  EXPECT_EQ(instances(), (Strings{kPlainInstance, kOtherInstance}));
  EXPECT_TRUE(says(output, "Schedules: 4 by generator default")) << output;

  // Another machine's table, the microarchitecture's, the CPU's: each displaces those before it.
  write_table("generators/schedules/other_arch.json", {row({{"\"unroll\": 4", "\"unroll\": 1"}}), row({{near, far}})});
  output = configure();
  EXPECT_EQ(instances(), (Strings{kPlainInstance, "toy_plain_forward_unroll1 'unroll=1' by ISA tier avx2 (from other_arch)",
                                  "toy_plain_forward_unroll4 'unroll=4' by ISA tier avx2 (from other_arch)", kOtherInstance}));
  EXPECT_EQ(rows(), (Strings{"toy_plain_forward_unroll1, 64,32", "toy_plain_forward_unroll4, 640,32"}));
  EXPECT_TRUE(says(output, "4 by generator default, 2 by ISA tier avx2 (from other_arch)")) << output;
  EXPECT_FALSE(says(output, kWarning)) << output;

  write_table(kMine, {row({{"this_cpu", "its_brother"}, {"\"unroll\": 4", "\"unroll\": 2, \"rows_per_task\": 64"}})});
  configure();
  EXPECT_EQ(instances(),
            (Strings{kPlainInstance, "toy_plain_forward_rows_per_task64 'rows_per_task=64' by microarchitecture this_arch", kOtherInstance}));

  write_table(kMine, {row({{"this_cpu", "its_brother"}, {"\"unroll\": 4", "\"unroll\": 1"}}), row(), row({{"avx2", "avx512"}, {near, far}})});
  configure();
  EXPECT_EQ(instances(), (Strings{kPlainInstance, "toy_plain_forward_unroll4 'unroll=4' by cpu this_cpu", kOtherInstance}))
      << "another tier's row was taken";

  // The user's rows come before the project's of the same sizes; of those of one table the one with this machine's threads.
  const std::string threads = fmt::format("\"threads\": {}", available_threads()), more = fmt::format("\"threads\": {}", available_threads() + 1);
  write_table("users/this_arch.json", {row({{"\"threads\": 1", more}, {"\"unroll\": 4", "\"unroll\": 2"}}),
                                       row({{"\"threads\": 1", threads}, {"\"unroll\": 4", "\"unroll\": 1"}}),
                                       row({{"\"threads\": 1", more}, {"\"unroll\": 4", "\"unroll\": 2"}})});
  write_table(kMine, {row({{"\"threads\": 1", threads}}), row({{near, far}, {"plain", "other"}, {"\"unroll\": 4", ""}})});
  configure();
  EXPECT_EQ(instances(), (Strings{kPlainInstance, "toy_plain_forward_unroll1 'unroll=1' by cpu this_cpu", "toy_other_forward '' by cpu this_cpu"}));
  EXPECT_EQ(rows(), (Strings{"toy_plain_forward_unroll1, 64,32", "toy_other_forward, 640,32"}));

  // One table alone, or none.
  write_table("poor.json",
              {row({{"\"unroll\": 4", "\"unroll\": 1"}}), row({{"toy", "bare"}, {near, "{}"}, {"\"unroll\": 4", "\"rows_per_task\": 4"}})});
  configure("-DMMREC_SCHEDULE=poor.json");
  EXPECT_EQ(instances(), (Strings{kPlainInstance, "toy_plain_forward_unroll1 'unroll=1' by table poor", kOtherInstance}));
  EXPECT_EQ(rows(), (Strings{"toy_plain_forward_unroll1, 64,32", "bare_plain_forward_rows_per_task4, "}));
  configure("-DMMREC_SCHEDULE=none");
  EXPECT_EQ(instances(), (Strings{kPlainInstance, kOtherInstance}));
}

TEST_F(Schedules, NothingInATableBreaksTheBuild) {
  const Strings defaults{kPlainInstance, kOtherInstance};
  const struct {
    std::string part, by, message;
  } wrong[] = {{"toy", "toys", "the registry has no kernel 'toys forward plain'"},
               {"forward", "sideways", "the registry has no kernel 'toy sideways plain'"},
               {"plain", "splendid", "the registry has no kernel 'toy forward splendid'"},
               {"\"N\": 64, ", "", "its sizes are not 'N D'"},
               {"\"N\": 64", "\"N\": 64, \"K\": 1", "its sizes are not 'N D'"},
               {"64", "\"many\"", "its sizes are not 'N D'"},
               {"64", "\"08\"", "its sizes are not 'N D'"},
               {"64", "99999999999", "its sizes are not 'N D'"},
               {"\"threads\": 1", "\"threads\": \"1;2\"", "its threads are no number"},
               {"\"sizes\"", "\"shape\"", "its sizes are not 'N D'"},
               {"\"isa\"", "\"tier\"", "it has no isa"},
               {"\"unroll\": 4", "\"unrolled\": 4", "the generator has no parameter 'unrolled'"},
               {"\"unroll\": 4", "\"depth\": 8", "the generator has no parameter 'depth'"},  // the backward pass has
               {"\"unroll\": 4", "\"unroll\": 3", "unroll is none of 1, 2, 4"},
               {"\"unroll\": 4", "\"unroll\": [4]", "unroll is none of 1, 2, 4"},
               {"\"unroll\": 4", "\"unroll\": \"4\"", "unroll is none of 1, 2, 4"},
               {"\"params\"", "\"parameters\"", "it has no params"},
               {"{\"unroll\": 4}", "[4]", "it has no params"},
               {"\"unroll\": 4", "\"(\": 4", "the generator has no parameter '('"},
               {"toy", "toy;bare", "the registry has no kernel 'toy;bare forward plain'"},
               {"forward", "for ward", "the registry has no kernel 'toy for ward plain'"},
               {"plain", "plain|other", "the registry has no kernel 'toy forward plain|other'"}};
  const std::string good = row({{"\"N\": 64", "\"N\": 7"}, {"\"unroll\": 4", "\"unroll\": 1"}});
  for (const auto& [part, by, message] : wrong) {
    write_table(kMine, {good, row({{part, by}})});
    const std::string output = configure();
    EXPECT_TRUE(says(output, "this_arch.json: row 2 is left out, " + message)) << message << "\n" << output;
    EXPECT_EQ(instances(), (Strings{kPlainInstance, "toy_plain_forward_unroll1 'unroll=1' by cpu this_cpu", kOtherInstance})) << message;
  }
  const std::string deep = "{\"rows\": " + std::string(5000, '[') + std::string(5000, ']') + "}";
  const std::string object = "{\"rows\": {\"a\": " + good + "}}";
  for (const std::string& table : {std::string(), std::string("{\"rows\": ["), std::string("[]"), std::string("{\"rows\": 3}"),
                                   std::string("{\"kernels\": {}}"), std::string("\xff\xfe"), deep, object}) {
    write_file_atomically(root() / kMine, table);
    EXPECT_TRUE(says(configure(), "this_arch.json is no table of schedules and is ignored")) << table;
    EXPECT_EQ(instances(), defaults) << table;
  }
  for (const char* row : {"3", "{}", "null", "[1, 2]"}) {
    write_table(kMine, {row});
    EXPECT_TRUE(says(configure(), "this_arch.json: row 1 is left out, the registry has no kernel")) << row;
    EXPECT_EQ(instances(), defaults) << row;
  }

  // Rows that do not stand on a line each.
  write_table(kMine, {std::regex_replace(row(), std::regex(", "), ",\n"), good});
  EXPECT_FALSE(says(configure(), kWarning));
  EXPECT_EQ(instances(), (Strings{kPlainInstance, "toy_plain_forward_unroll4 'unroll=4' by cpu this_cpu",
                                  "toy_plain_forward_unroll1 'unroll=1' by cpu this_cpu", kOtherInstance}));

  // Rows that stand elsewhere in the table.
  write_file_atomically(root() / kMine, "{\"others\": [\n" + good + "\n],\n\"rows\": [\n" + row() + "]}\n");
  configure();
  EXPECT_EQ(instances(), (Strings{kPlainInstance, "toy_plain_forward_unroll4 'unroll=4' by cpu this_cpu", kOtherInstance}));

  // Rows of another version of the generator or of Halide are used, with one warning.
  const std::string far = "\"N\": 640";
  write_table(kMine, {good, row({{"SOURCE", "0123456789abcdef"}}), row({{"HALIDE", "20.0.0"}, {"\"N\": 64", far}})});
  const std::string output = configure();
  EXPECT_TRUE(says(output, "2 rows of the schedule tables were measured with another version of the generators or of Halide: toy.")) << output;
  EXPECT_EQ(output.find(kWarning), output.rfind(kWarning)) << output;
  EXPECT_EQ(rows(), (Strings{"toy_plain_forward_unroll1, 7,32", "toy_plain_forward_unroll4, 64,32", "toy_plain_forward_unroll4, 640,32"}));
}

TEST_F(Schedules, OnlyChangedKernelsAreCompiled) {
  const std::string unroll = "\"unroll\": 4", backward = "backward";
  EXPECT_EQ(compiled(), (Strings{"toy_plain_backward", "toy_plain_forward"}));
  EXPECT_EQ(compiled(), Strings{});

  // A table that was not there before, a changed row, one more, and the defaults again: those need no configuration by hand.
  write_table(kMine, {row(), row({{"forward", backward}, {unroll, "\"depth\": 8"}})});
  EXPECT_EQ(compiled(), (Strings{"toy_plain_backward_depth8", "toy_plain_forward_unroll4"}));
  write_table(kMine, {row({{unroll, "\"unroll\": 1"}}), row({{"forward", backward}, {unroll, "\"depth\": 8"}})});
  EXPECT_EQ(compiled(), Strings{"toy_plain_forward_unroll1"});
  write_table(kMine, {row({{unroll, "\"unroll\": 1"}}), row({{"\"N\": 64", "\"N\": 7"}, {unroll, "\"rows_per_task\": 4"}}),
                      row({{"forward", backward}, {unroll, "\"depth\": 8"}})});
  EXPECT_EQ(compiled(), Strings{"toy_plain_forward_rows_per_task4"});
  write_table(kMine, {row(), row({{"forward", backward}, {unroll, ""}})});
  EXPECT_EQ(compiled(), Strings{}) << "both were compiled before";
}

}  // namespace
}  // namespace mmrec
