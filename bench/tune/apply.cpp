#include "bench/tune/apply.h"

#include <fcntl.h>
#include <fmt/ranges.h>
#include <sys/file.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <map>
#include <set>

#include "runtime/kernel_registry.h"
#include "support/atomic_file.h"
#include "support/error.h"
#include "support/file_descriptor.h"
#include "support/run_commands.h"

namespace mmrec::tune {

namespace {

constexpr double kTestSeconds = 600;  // per test program

/// Locks the build folder against other builds, including cmake/build.sh. Waits for a running
/// build. Child processes do not inherit the lock. No effect on a file system without locks.
class BuildLock {
 public:
  BuildLock(const Tree& tree, Console& display)
      : folder_("open", tree.build, O_RDONLY | O_DIRECTORY | O_CLOEXEC) {
    if (::flock(folder_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return;
    display.line("waiting for another build in " + tree.build.string());
    while (::flock(folder_, LOCK_EX) != 0 && errno == EINTR) {
    }
  }

 private:
  FileDescriptor folder_;
};

/// Runs a tool. Throws an Error with the end of its output if it fails.
void run_tool(const Tree& tree, const std::vector<std::string>& words, const std::string& what) {
  make_directory(tree.folder());
  const std::filesystem::path output = tree.folder() / "tool.out";
  const Ending ending = run_command({words, output});
  if (ending.code == 0) return;
  const std::string text = read_file(output);
  fail("{} failed ({}):\n{}", what, ending.describe(),
       text.substr(text.size() - std::min<size_t>(text.size(), 4000)));
}

/// Calls the build tool directly: `cmake --build`, when killed, leaves the tool that it started
/// running.
void build(const Tree& tree, const std::vector<std::string>& targets, const std::string& what) {
  std::vector<std::string> words{MMREC_BUILD_TOOL, "-C", tree.build};
  words.insert(words.end(), targets.begin(), targets.end());
  run_tool(tree, words, what);
}

/// Returns the object file of each kernel with its modification time.
std::map<std::filesystem::path, std::filesystem::file_time_type> kernel_objects(const Tree& tree) {
  std::map<std::filesystem::path, std::filesystem::file_time_type> objects;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(tree.build / "generators"))
    if (entry.path().extension() == ".o" &&
        std::filesystem::exists(std::filesystem::path(entry.path()).replace_extension(".key")))
      objects[entry.path()] = entry.last_write_time();
  return objects;
}

using Operations = std::set<std::string>;

/// Builds the test of all descriptions and runs it for each of the operations. Returns the
/// operations whose tests fail. Throws an Error if a test ends without a result: by the time limit,
/// or by SIGKILL, as when memory runs out.
Operations failing_operations(const Tree& tree, const Operations& operations, Console& display,
                              const Warn& warn) {
  const std::string program = "test_workloads";
  display.status("building the tests");
  build(tree, {program}, "building the tests");
  Operations failing;
  for (const std::string& op : operations) {
    display.status("testing " + op);
    const std::filesystem::path output = tree.folder() / (program + "." + op + ".out");
    const Ending ending = run_command(
        {{tree.build / "bin" / program, fmt::format("--gtest_filter=*/{}_*", op)}, output},
        kTestSeconds);
    if (ending.code == 0) continue;
    const std::string what = fmt::format("{} of {} ({}); what it printed is in {}", program, op,
                                         ending.describe(), output.string());
    if (ending.too_late || ending.code == -SIGKILL)
      fail("nothing is known of the kernels: no end of {}", what);
    display.erase_status();
    warn("these tests failed: " + what);
    failing.insert(op);
  }
  return failing;
}

/// Configures and builds the programs. Returns the number of kernels rebuilt. The caller holds the
/// lock.
int build_table(const Tree& tree, Console& display) {
  const auto before = kernel_objects(tree);
  display.status("configuring");
  // Use the tables that the tuner reads and writes, without a forced one.
  run_tool(tree,
           {MMREC_CMAKE, "-S", tree.source, "-B", tree.build,
            "-DMMREC_SCHEDULE=", "-DMMREC_SCHEDULE_DIR=" + user_schedule_folder().string()},
           "the configuration");
  display.status("building");
  build(tree, {"programs"}, "the build");
  int rebuilt = 0;
  for (const auto& [object, time] : kernel_objects(tree)) {
    const auto old = before.find(object);
    rebuilt += old == before.end() || old->second != time;
  }
  return rebuilt;
}

}  // namespace

Tree Tree::ours() {
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe");
  if (!within(MMREC_BUILD_DIR)(program))
    fail("{} was built for {} and would write there; run 'make build' for its own place first",
         program.string(), MMREC_BUILD_DIR);
  return {MMREC_SOURCE_DIR, MMREC_BUILD_DIR};
}

std::filesystem::path user_schedule_folder() {
  const char* folder = std::getenv("MMREC_SCHEDULE_DIR");
  if (!folder || !*folder) return "";
  const std::filesystem::path path = std::filesystem::absolute(folder).lexically_normal();
  return path.has_filename() ? path : path.parent_path();  // without a trailing slash
}

std::filesystem::path schedule_folder() {
  const std::filesystem::path users = user_schedule_folder();
  return users.empty() ? std::filesystem::path(MMREC_SOURCE_DIR) / "generators/schedules" : users;
}

int apply_table_and_keep(const Tree& tree, Console& display) {
  const BuildLock lock(tree, display);
  make_directory(tree.folder());
  const std::filesystem::path kept = tree.folder() / "kept";
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe");
  const auto built = std::filesystem::last_write_time(program);
  std::filesystem::copy_file(program, kept, std::filesystem::copy_options::overwrite_existing);
  const int rebuilt = build_table(tree, display);
  // An interrupted earlier apply may already have built the kernels. So compare this program's
  // time, too.
  if (rebuilt > 0 || std::filesystem::last_write_time(program) != built)
    std::filesystem::rename(kept, tree.program_before());
  else
    std::filesystem::remove(kept);
  return rebuilt;
}

void verify_kernels(const Tree& tree, Database& database, Console& display) {
  const Machine& machine = database.machine();
  const std::vector<std::string> known = mmrec::operation_names();
  // With any number of threads: the build uses such rows if there are no others.
  const auto ours = [&](const TableRow& row) {
    return row.cpu == machine.cpu && row.isa == machine.isa &&
           std::ranges::find(known, row.call.op) != known.end();
  };
  Operations tuned;
  for (const KernelEntry& kernel : kernels())
    if (*kernel.params) tuned.insert(kernel.op);
  for (const TableRow& row : database.table().rows)
    if (ours(row)) tuned.insert(row.call.op);
  if (tuned.empty())
    return display.line("no kernel is built from a table: there is nothing to verify");
  const BuildLock lock(tree, display);  // the tests must run with this build
  Operations failing = failing_operations(tree, tuned, display, database.warn());
  if (failing.empty())
    return display.line(fmt::format("the tests of {} operations passed with the tuned kernels: {}",
                                    tuned.size(), fmt::join(tuned, ", ")));

  // The tests do not tell which of an operation's kernels is wrong, so drop all of them. The next
  // best instances in the log replace them.
  while (!failing.empty()) {
    std::vector<Verdict> verdicts;
    for (const TableRow& row : database.table().rows) {
      if (!failing.contains(row.call.op) || !ours(row) || row.instance.params.empty()) continue;
      verdicts.push_back(database.verdict(row.call.without_sizes(), row.instance, Status::kWrong));
      verdicts.back().lowered = row.lowered;
      verdicts.back().message = "the tests of its operation fail";
    }
    if (verdicts.empty())
      fail("the tests of {} fail, and not because of this machine's rows in {}",
           fmt::join(failing, ", "), database.table_path().string());
    database.add(verdicts);
    display.erase_status();
    database.warn()(fmt::format("{} rows dropped, of {}; building without them", verdicts.size(),
                                fmt::join(failing, ", ")));
    build_table(tree, display);
    failing = failing_operations(tree, failing, display, database.warn());
  }
  display.line("without them the tests pass");
}

}  // namespace mmrec::tune
