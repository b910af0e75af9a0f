#pragma once

#include <string>
#include <vector>

#include "bench/harness/case.h"
#include "bench/harness/machine_peak.h"
#include "bench/harness/table.h"

namespace mmrec::bench {

std::vector<std::string> suite_names();

/// The rows of a suite; those of an operation. A UsageError lists the operations if there is no
/// such one.
std::vector<Case> suite_cases(const std::string& suite);
std::vector<Case> operation_cases(const std::string& op);

/// The tables of a suite. `documented` sets the scan in log space against the default one; `gemm`
/// sums up the rivals, `train` adds the kernels' profile.
Groups print_suite(const std::string& suite, const MachinePeak& peak, const Measuring& measuring);

}  // namespace mmrec::bench
