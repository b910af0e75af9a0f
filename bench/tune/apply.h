#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "bench/tune/sweep.h"
#include "support/console.h"

namespace mmrec::tune {

/// The project's source folder and build folder.
struct Tree {
  std::filesystem::path source, build;
  /// Returns the tree that this program was built for. Throws an Error if the program was copied or
  /// moved out of its build folder.
  static Tree ours();

  /// Folder for the tuner's files.
  std::filesystem::path folder() const { return build / "tune"; }
  /// The step of the last sweep over a training step (SweptStep).
  std::filesystem::path swept_step() const { return folder() / "swept.json"; }
  /// The tuner as it was before the last `tune apply` that changed something. `tune measure`
  /// compares with it.
  std::filesystem::path program_before() const { return folder() / "before"; }
};

/// Returns $MMREC_SCHEDULE_DIR as an absolute normal path, the form that builds are configured
/// with, or an empty path.
std::filesystem::path user_schedule_folder();
/// Returns the folder of tables and logs: the user's if set, else the project's.
std::filesystem::path schedule_folder();

// The following functions wait, with a message, for other builds of the same folder.

/// Configures, and builds the programs with the kernels that the tables name. If kernels or this
/// program were rebuilt, keeps the previous program as program_before(). Returns the number of
/// kernels rebuilt.
int apply_table_and_keep(const Tree& tree, Console& display);

/// Tests all operations with tuned kernels against their references (test_workloads), in this
/// program or in a build of the current tables. If an operation's tests fail, drops its rows of
/// this machine and rebuilds, until the tests pass. Throws an Error if tests fail without such
/// rows, or end without a result.
void verify_kernels(const Tree& tree, Database& database, Console& display);

}  // namespace mmrec::tune
