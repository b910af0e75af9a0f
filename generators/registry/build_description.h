#pragma once

#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "generators/registry/schedule_table.h"

namespace mmrec::registry {

/// The microarchitecture of a build for CPUs that are not known when it is made.
inline constexpr const char* kAnyMicroarchitecture = "generic";

/// What kernels are built for, and the schedule tables to use. CMake writes it
/// (cmake/Kernels.cmake), one field per line: "<name> <value>".
struct BuildDescription {
  std::string target;  ///< Halide target with all features
  std::string halide;  ///< version of Halide
  std::string isa, cpu, microarchitecture;
  /// The user named one table: use it whatever machine it belongs to.
  bool only_table = false;
  /// Kernels with bfloat16 factors are built even for targets without instructions for these.
  bool software_bf16 = false;
  std::vector<std::filesystem::path> tables;  ///< the user's tables, then the project's
};

/// Throws an Error for an unknown or missing field.
BuildDescription read_build_description(const std::filesystem::path& path);

/// A row that a build uses, and the level of the tables that it comes from.
struct UsedRow {
  TableRow row;
  /// "cpu amd_epyc_9r14", "microarchitecture amd_zen4", "ISA tier avx512 (from amd_zen4)" or "table
  /// <name>".
  std::string level;
};

/// Returns the rows of the tables that serve a pass of an operation on arrays of type `dtype`. All
/// are of the build's ISA tier. They come from the first of these levels that has rows:
///   cpu                rows measured on this CPU, in the tables of its microarchitecture
///   microarchitecture  the other rows in these tables
///   ISA tier           the rows of the first table of another microarchitecture
/// Of rows with equal sizes, those of the first table are used; of these, the row for `threads`
/// threads, else the first one.
std::vector<UsedRow> used_rows(const BuildDescription& build,
                               const std::vector<ScheduleTable>& tables, const std::string& op,
                               const std::string& pass, const std::string& dtype, int threads);

/// Returns the microarchitectures for which a build has rows of their own, between which a process
/// chooses: in a build for any CPU those with tables of its ISA tier, else none.
std::set<std::string> own_rows(const BuildDescription& build,
                               const std::vector<ScheduleTable>& tables);

}  // namespace mmrec::registry
