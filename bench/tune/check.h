#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/kernel_registry.h"

namespace mmrec::tune {

/// Shapes at which a kernel that serves `sizes` should be right as well: those, and some at which
/// nothing divides evenly.
std::vector<std::vector<int>> shapes_to_check(const std::vector<int>& sizes);

/// Sets a candidate against a kernel that is trusted: on the same operands they must leave the same
/// in every array, as near as two orders of summation are to each other, and the candidate the same
/// bits every time and with any number of threads. Returns what is wrong, or nothing. A shape that
/// the operation does not allow says nothing.
std::string find_fault(const KernelEntry& trusted, const KernelEntry& candidate,
                       const std::vector<int>& sizes, uint64_t seed);

}  // namespace mmrec::tune
