#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "bench/harness/case.h"
#include "bench/harness/machine_peak.h"

namespace mmrec::bench {

/// Google Benchmark over some rows, under its own options (argv[0] and those that begin with
/// --benchmark_). What these are is looked at before `measure_peak` is called; the peak's header
/// goes into the benchmark's context, and so into its JSON. False where rows were listed and
/// nothing was measured. Options that it does not take, and a filter that matches nothing, throw a
/// UsageError.
bool run_google_benchmark(const std::vector<Case>& rows, std::vector<char*> arguments,
                          const std::function<MachinePeak()>& measure_peak, uint64_t seed);

}  // namespace mmrec::bench
