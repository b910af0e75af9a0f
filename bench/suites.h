#pragma once

#include <string>
#include <vector>

#include "bench/case.h"
#include "bench/machine_peak.h"

namespace mmrec::bench {

std::vector<std::string> suite_names();

/// The rows of a suite; those of an operation. A UsageError lists the operations if there is no such one.
std::vector<Case> suite_cases(const std::string& suite);
std::vector<Case> operation_cases(const std::string& op);

/// Measures rows and prints the table, line by line as they are done: name, time of a call (best and median), rate and part of
/// the machine's peak, and how much faster the row is than the first of its group, the default variant.
void print_table(const std::vector<Case>& rows, const MachinePeak& peak, uint64_t seed);

/// The tables of a suite. `documented` sets the scan in log space against the default one; `train` adds the kernels' profile.
void print_suite(const std::string& suite, const MachinePeak& peak, uint64_t seed);

}  // namespace mmrec::bench
