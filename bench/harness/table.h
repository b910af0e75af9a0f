#pragma once

#include <string>
#include <vector>

#include "bench/harness/case.h"
#include "bench/harness/machine_peak.h"
#include "bench/harness/timing.h"

namespace mmrec::bench {

/// Rows that were timed, in groups of those that are compared.
using Groups = std::vector<std::vector<Result>>;

/// How rows are measured.
struct Measuring {
  double seconds;  ///< for each row
  uint64_t seed;
};

/// The rows in groups, in the order in which a group first appears.
std::vector<std::vector<Case>> grouped(const std::vector<Case>& rows);

/// Four digits: "9.213 us", "12.34 ms".
std::string time_string(double seconds);

/// How many times faster than the row that dispatch chooses, or the first of the group where it
/// chooses none.
std::vector<double> speed_ups(const std::vector<Result>& group);

/// Whether other programs ran while any of it was measured.
bool disturbed(const Groups& groups);

/// The fastest row of a group that is no limit.
size_t winner(const std::vector<Result>& group);

/// What a table says behind a row: of several variants which is the fastest and which one dispatch
/// chooses, what is a limit, and what other programs disturbed. Words with a space between them.
std::string marks(const std::vector<Result>& group, size_t row);

/// Measures rows and prints the table, group by group as they are done: name, time of a call (best
/// and median), and of the best time the rate, its part of the machine's peak and the speed-up or
/// the tokens a second; then the row's marks, and with `schedules` the level of the schedule tables
/// that its parameters are from.
Groups print_table(const std::vector<Case>& rows, const MachinePeak& peak,
                   const Measuring& measuring, bool schedules = false);

/// The table with schedules, the rivals' summary, and below them the variants that dispatch chooses
/// and the levels that serve all kernels.
Groups print_comparison(const std::vector<Case>& rows, const MachinePeak& peak,
                        const Measuring& measuring);

/// For each rival its time over that of the dispatched variant: the geometric mean of all groups,
/// and of each pass, and the lowest. Nothing where there are no rivals.
void print_rivals(const Groups& groups);

}  // namespace mmrec::bench
