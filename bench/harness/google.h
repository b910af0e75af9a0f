#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "bench/harness/case.h"
#include "bench/harness/machine_peak.h"

namespace mmrec::bench {

/// Runs Google Benchmark on the rows. `arguments` holds argv[0] and the options that begin with
/// --benchmark_. Checks the options before it calls `measure_peak`, which takes time. The peak's
/// header lines go into the benchmark's context, and so into its JSON. Returns false if the rows
/// were only listed. Throws a UsageError for an unknown option or value, and for a filter that
/// matches no row.
bool run_google_benchmark(const std::vector<Case>& rows, std::vector<char*> arguments,
                          const std::function<MachinePeak()>& measure_peak, uint64_t seed);

}  // namespace mmrec::bench
