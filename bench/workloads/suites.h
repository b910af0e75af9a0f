#pragma once

#include <string>
#include <vector>

#include "bench/harness/case.h"
#include "bench/harness/machine_peak.h"
#include "bench/harness/table.h"

namespace mmrec::bench {

std::vector<std::string> suite_names();

/// Returns the rows of a suite, or of an operation. Throws a UsageError that lists the valid names
/// if there is no such suite or operation.
std::vector<Case> suite_cases(const std::string& suite);
std::vector<Case> operation_cases(const std::string& op);

/// Measures rows of a suite and prints its tables. `documented` compares the log-space scan with
/// the dispatched one. All others print the summaries of rivals and of precisions, if they have
/// them; `train` and `generation` also print the kernels' profile, `train` their times alone and in
/// the step, `recurrence` the second passes of long sequences.
Groups print_suite(const std::string& suite, const std::vector<Case>& rows, const MachinePeak& peak,
                   const Measuring& measuring);

}  // namespace mmrec::bench
