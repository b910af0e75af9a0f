#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "bench/tune/sweep.h"
#include "support/console.h"

namespace mmrec::tune {

/// The project, and where it is built.
struct Tree {
  std::filesystem::path source, build;
  /// Where this program was built; throws an Error where the program has been copied or moved away
  /// from there.
  static Tree ours();

  /// For what the tuner keeps.
  std::filesystem::path folder() const { return build / "tune"; }
  /// What the last sweep of a training step was for.
  std::filesystem::path swept_step() const { return folder() / "swept.json"; }
  /// The tuner as it was before the last `tune apply` that changed something: what `tune measure`
  /// compares with.
  std::filesystem::path program_before() const { return folder() / "before"; }
};

/// $MMREC_SCHEDULE_DIR in its absolute normal form, in which builds are configured with it, or
/// nothing.
std::filesystem::path user_schedule_folder();
/// The folder of tables and logs: the user's, or the project's.
std::filesystem::path schedule_folder();

// What builds waits for another build of the folder, and says so.

/// Configures, and builds the programs with the kernels of the tables. Returns how many kernels
/// were rebuilt.
int apply_table(const Tree& tree, Console& display);
/// The same, and where kernels or this program were built anew, what this program was becomes
/// program_before().
int apply_table_and_keep(const Tree& tree, Console& display);

/// Sets all operations that have tuned kernels against their references (test_workloads), in this
/// program or in a build of today's tables. Where tests fail, the operation's rows of this machine
/// are dropped and all is built without them, until they pass or none is left: then it throws an
/// Error, as it does at once where tests do not come to an end.
void verify_kernels(const Tree& tree, Database& database, Console& display);

}  // namespace mmrec::tune
