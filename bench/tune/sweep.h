#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "bench/tune/builds.h"
#include "bench/tune/candidate.h"
#include "bench/tune/log.h"
#include "bench/tune/step.h"
#include "generators/registry/instance.h"
#include "generators/registry/schedule_table.h"
#include "support/console.h"

namespace mmrec::tune {

/// What a sweep is for, and how long it may take.
struct SweepOptions {
  std::vector<StepCall> calls;  ///< what is tuned, with its part of the time
  double budget = 300;          ///< seconds
  bool grid = false;            ///< tries all instances in turn instead of searching
  uint64_t seed = 42;
  Workshop::Settings workshop;
  std::vector<Build> strangers = {};  ///< what competes besides the registry's variants: a test's
};

/// A machine's log and the table that is derived from it.
class Database {
 public:
  Database(const std::filesystem::path& folder, Machine machine, Warn warn);

  const Machine& machine() const { return machine_; }
  const Warn& warn() const { return warn_; }
  const std::filesystem::path& table_path() const { return table_path_; }
  /// Opened at the first use, and created if need be: who only looks at the table needs no right to
  /// write.
  Log& log();
  /// What the table says now.
  const ScheduleTable& table() const { return table_; }
  /// The table's row of a call for this machine, if it was measured with today's code.
  const Row* row(const Call& call) const;

  /// Adds to the log, and brings the table up to date before anybody else adds something: the rows
  /// of the calls that the verdicts are about (one without sizes: of its operation's pass), and
  /// those that are missing. Others stay, whether edited or from elsewhere.
  void add(std::span<const Verdict> verdicts);
  /// A verdict with all that is not about the candidate filled in.
  Verdict verdict(const Call& call, const Instance& instance, Status status) const;

 private:
  Machine machine_;
  std::filesystem::path table_path_, log_path_;
  Warn warn_;
  std::optional<Log> log_;
  ScheduleTable table_;
};

/// Throws an Error where what is tuned for a target would take the place of what the project's
/// builds use: kernels that check their arguments at every call are slower, and in another way.
void check_may_tune(const std::string& target, const std::filesystem::path& user_folder);

/// What a sweep did to a kernel.
struct Swept {
  std::string op, pass;
  double space = 0;  ///< instances that there are
  int compiled = 0, timed = 0;
  double seconds = 0;          ///< that it took
  bool finished = false;       ///< whether the search came to its end
  std::vector<Row> rows = {};  ///< of its calls
};

/// Tries instances of the kernels that the calls go to, the longest of a step first, each for its
/// share of the budget, and writes down what came out as it goes.
std::vector<Swept> sweep(const SweepOptions& options, Database& database, Console& display);

}  // namespace mmrec::tune
