#pragma once

#include <cstdint>
#include <vector>

#include "bench/case.h"
#include "bench/machine_peak.h"
#include "bench/report.h"

namespace mmrec::bench {

/// Google Benchmark over all rows, under its own options (argv[0] and those that begin with --benchmark_). `header` goes into
/// its context, and so into its JSON. Unknown options throw a UsageError.
void run_google_benchmark(std::vector<char*> arguments, const Header& header, const MachinePeak& peak, uint64_t seed);

}  // namespace mmrec::bench
