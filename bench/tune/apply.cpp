#include "bench/tune/apply.h"

#include <fmt/ranges.h>

#include <map>
#include <set>

#include "bench/tune/process.h"
#include "runtime/error.h"
#include "train/atomic_file.h"

namespace mmrec::tune {

namespace {

const std::filesystem::path kBuild = MMREC_BUILD_DIR, kPrograms = kBuild / "bin", kFolder = kBuild / "tune";

/// Runs a tool; where it fails, what it printed says why.
void run_tool(const std::vector<std::string>& words, const std::string& what) {
  make_directory(kFolder);
  const std::filesystem::path output = kFolder / "tool.out";
  const Ending ending = run_command({words, output});
  if (ending.code == 0) return;
  const std::string text = read_file(output);
  fail("{} failed ({}):\n{}", what, ending.describe(), text.substr(text.size() - std::min<size_t>(text.size(), 4000)));
}

/// Each kernel's library and when it was made.
std::map<std::filesystem::path, std::filesystem::file_time_type> kernel_libraries() {
  std::map<std::filesystem::path, std::filesystem::file_time_type> libraries;
  for (const auto& entry : std::filesystem::directory_iterator(kBuild / "generators"))
    if (entry.path().extension() == ".a") libraries[entry.path()] = entry.last_write_time();
  return libraries;
}

/// The test program of an operation: test_<op>, but for those that share one.
std::string test_of(const std::string& op) {
  static const std::map<std::string, std::string> kShared = {
      {"affine_scan", "scan"}, {"column_sum", "gemm"}, {"adamw", "optimizer"}, {"sum_of_squares", "optimizer"}};
  const auto shared = kShared.find(op);
  return "test_" + (shared == kShared.end() ? op : shared->second);
}

}  // namespace

std::filesystem::path program_before() { return kFolder / "before"; }

int apply_table(Console& display) {
  const auto before = kernel_libraries();
  make_directory(kFolder);
  const std::filesystem::path kept = kFolder / "kept";
  std::filesystem::copy_file("/proc/self/exe", kept, std::filesystem::copy_options::overwrite_existing);
  display.status("configures");
  run_tool({MMREC_CMAKE, "-S", MMREC_SOURCE_DIR, "-B", kBuild, "-DMMREC_SCHEDULE="}, "the configuration");  // no other table than ours
  display.status("builds");
  run_tool({MMREC_CMAKE, "--build", kBuild, "--target", "bench", "generate", "probe", "train", "tune"}, "the build");
  int rebuilt = 0;
  for (const auto& [library, time] : kernel_libraries()) {
    const auto old = before.find(library);
    rebuilt += old == before.end() || old->second != time;
  }
  if (rebuilt > 0)
    std::filesystem::rename(kept, program_before());
  else
    std::filesystem::remove(kept);
  return rebuilt;
}

std::vector<std::string> failing_operations(const std::vector<std::string>& operations, Console& display) {
  std::map<std::string, std::vector<std::string>> tests;
  for (const std::string& op : operations) tests[test_of(op)].push_back(op);
  std::vector<std::string> words{MMREC_CMAKE, "--build", kBuild, "--target"}, failing;
  for (const auto& [test, ops] : tests) words.push_back(test);
  display.status("builds the tests");
  run_tool(words, "building the tests");
  for (const auto& [test, ops] : tests) {
    display.status(test);
    const std::filesystem::path output = kFolder / (test + ".out");
    const Ending ending = run_command({{kPrograms / test}, output});
    if (ending.code == 0) continue;
    display.line(fmt::format("{} failed ({}); what it printed is in {}", test, ending.describe(), output.string()), Style::kWarning);
    failing.insert(failing.end(), ops.begin(), ops.end());
  }
  return failing;
}

}  // namespace mmrec::tune
