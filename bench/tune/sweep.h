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

/// What to tune, and for how long.
struct SweepOptions {
  std::vector<StepCall> calls;  ///< the calls to tune, with their time in the step
  double budget = 300;          ///< seconds
  bool grid = false;            ///< try all instances in turn instead of searching
  uint64_t seed = 42;
  Workshop::Settings workshop;
  /// For tests: more variants to try, each with its defaults.
  std::vector<const KernelEntry*> strangers = {};
};

/// A machine's log, and the table that is derived from it.
class Database {
 public:
  Database(const std::filesystem::path& folder, Machine machine, Warn warn);

  const Machine& machine() const { return machine_; }
  const Warn& warn() const { return warn_; }
  const std::filesystem::path& table_path() const { return table_path_; }
  /// The log, opened or created at first use: reading only the table requires no write permission.
  Log& log();
  /// The current table.
  const ScheduleTable& table() const { return table_; }
  /// Returns the table's row of a call for this machine, or null if there is none or it was
  /// measured with other code.
  const TableRow* row(const Call& call) const;

  /// Appends to the log, and updates the table before another tuner can append. Updates the rows of
  /// the verdicts' calls (a verdict without sizes concerns all calls of its pass) and adds missing
  /// rows. Keeps all other rows, such as edited ones or those of other machines.
  void add(std::span<const Verdict> verdicts);
  /// Returns a verdict with time, machine and code filled in.
  Verdict verdict(const Call& call, const Instance& instance, Status status) const;

 private:
  Machine machine_;
  std::filesystem::path table_path_, log_path_;
  Warn warn_;
  std::optional<Log> log_;
  ScheduleTable table_;
};

/// Throws an Error if this build has kernels for several targets, or if tuning for `target` would
/// write into the project's tables although its kernels check their arguments: these kernels are
/// slower, and not by a constant factor.
void check_may_tune(const std::string& target, const std::filesystem::path& user_folder);

/// Statistics of a sweep for a pass.
struct Swept {
  Call pass;         ///< without sizes
  double space = 0;  ///< number of instances
  int compiled = 0, timed = 0;
  double seconds = 0;               ///< time spent
  bool finished = false;            ///< whether the search came to its end
  std::vector<TableRow> rows = {};  ///< of its calls
};

/// Tunes the kernels of the calls, those with the longest time first. Each gets a share of the
/// budget. Results go into the log and the table at once.
std::vector<Swept> sweep(const SweepOptions& options, Database& database, Console& display);

}  // namespace mmrec::tune
