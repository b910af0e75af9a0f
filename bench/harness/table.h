#pragma once

#include <string>
#include <vector>

#include "bench/harness/case.h"
#include "bench/harness/machine_peak.h"
#include "bench/harness/timing.h"

namespace mmrec::bench {

/// Timed rows, in groups whose rows are compared.
using Groups = std::vector<std::vector<Result>>;

/// Settings of a measurement.
struct Measuring {
  double seconds;  ///< per row
  uint64_t seed;
  Caches caches = Caches::kWarm;
};

/// Groups the rows. The order of groups is that of their first rows.
std::vector<std::vector<Case>> grouped(const std::vector<Case>& rows);

/// Formats a time with four digits: "9.213 us", "12.34 ms".
std::string time_string(double seconds);
/// Formats a ratio: "1.25x".
std::string ratio_string(double ratio, int digits = 2);

/// Returns for each row how many times faster it is than the dispatched row, or than the first row
/// if none is dispatched.
std::vector<double> speed_ups(const std::vector<Result>& group);

/// Whether other programs ran during the measurement of any group.
bool disturbed(const Groups& groups);

/// Returns the index of the fastest row that is not a limit.
size_t winner(const std::vector<Result>& group);

/// Returns the words that a table prints after a row, separated by spaces: "fastest" and "default"
/// (if the group has several variants), "limit", "disturbed" (other programs ran).
std::string marks(const std::vector<Result>& group, size_t row);

/// Measures rows and prints the table, each group when it is done. Columns: name, best and median
/// time per call; from the best time the rate, its part of the machine's peak, and the speed-up or
/// the tokens per second; then marks(). `schedules` adds the kernel's parameters and the level of
/// the schedule tables that they come from.
Groups print_table(const std::vector<Case>& rows, const MachinePeak& peak,
                   const Measuring& measuring, bool schedules = false);

/// Prints the table with schedules and the summaries of rivals and precisions. Below them: how
/// often each variant is fastest and how often dispatched, and the source of the build's schedules.
Groups print_comparison(const std::vector<Case>& rows, const MachinePeak& peak,
                        const Measuring& measuring);

/// Prints for each rival its time relative to the dispatched variant: the geometric mean of all
/// groups and of each pass, and the lowest ratio. Prints nothing without rivals.
void print_rivals(const Groups& groups);

/// Prints for each operation float's time relative to that with bfloat16 factors, both of the
/// dispatched variants, in the same way. Prints nothing if no call was timed in both.
void print_precisions(const Groups& groups);

}  // namespace mmrec::bench
