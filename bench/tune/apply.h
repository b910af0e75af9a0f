#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "train/console.h"

namespace mmrec::tune {

/// This program as it was before the last apply_table() that changed something: what measure_builds() compares with.
std::filesystem::path program_before();

/// Configures, and builds the programs with the kernels of the table. Returns how many kernels were rebuilt.
int apply_table(Console& display);

/// Runs the tests of operations; returns those whose tests fail.
std::vector<std::string> failing_operations(const std::vector<std::string>& operations, Console& display);

}  // namespace mmrec::tune
