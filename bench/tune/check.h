#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/kernel_registry.h"

namespace mmrec::tune {

/// Returns the shapes at which a kernel that serves `sizes` is checked: `sizes`, and some that no
/// tile divides evenly.
std::vector<std::vector<int>> shapes_to_check(const std::vector<int>& sizes);

/// Compares a candidate with a trusted kernel. On the same operands both must leave the same values
/// in every array, up to rounding of sums in another order. The candidate must give the same bits
/// in every call and with any number of threads. Returns a description of the fault, or "". Returns
/// "" for sizes that the operation refuses.
std::string find_fault(const KernelEntry& trusted, const KernelEntry& candidate,
                       const std::vector<int>& sizes, uint64_t seed);

}  // namespace mmrec::tune
