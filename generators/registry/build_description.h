#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "generators/registry/schedule_table.h"

namespace mmrec::registry {

/// What kernels are built for, and from which schedule tables. CMake writes it
/// (cmake/Kernels.cmake), a line a field: "<name> <value>".
struct BuildDescription {
  std::string target;  ///< Halide's, with all features
  std::string halide;  ///< version
  std::string isa, cpu, microarchitecture;
  bool only_table =
      false;  ///< the table was asked for by name: it serves whatever machine it is of
  std::vector<std::filesystem::path> tables;  ///< the user's come before the project's
};

/// Throws an Error for a file that is no description.
BuildDescription read_build_description(const std::filesystem::path& path);

/// A row that a build uses, and what of its tables it is from.
struct UsedRow {
  Row row;
  std::string level;  ///< "cpu amd_epyc_9r14", "microarchitecture amd_zen4", "ISA tier avx512 (from
                      ///< amd_zen4)", or "table <name>"
};

/// Which rows of the tables serve a pass of an operation: those of the first of these levels that
/// has any,
///   cpu                those measured on this very CPU, in its microarchitecture's tables
///   microarchitecture  the others in there
///   ISA tier           those of the first table of another microarchitecture
/// and of rows with the same sizes the one for as many threads as this machine has, else the first.
/// All are of the build's ISA tier.
std::vector<UsedRow> used_rows(const BuildDescription& build,
                               const std::vector<ScheduleTable>& tables, const std::string& op,
                               const std::string& pass, int threads);

}  // namespace mmrec::registry
