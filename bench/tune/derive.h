#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "bench/harness/race.h"
#include "bench/tune/log.h"
#include "generators/registry/schedule_table.h"

namespace mmrec::tune {

/// What derive_rows() needs from the registry.
struct Sources {
  std::function<std::string(const Call&)> default_variant;
  /// Whether a verdict is about the current code.
  std::function<bool(const Verdict&)> of_today;
};

/// Derives the rows of a machine from its log: one row per timed call, with its champion.
///
/// The first champion is the incumbent of the first race. A challenger becomes champion if it wins
/// a duel against the champion, or wins one against another instance and its time relative to the
/// defaults is clearly lower than the champion's. Of several duels of the same pair, the latest one
/// counts.
///
/// Ignores verdicts of other machines, targets, Halide versions, thread counts and code, and barred
/// instances. To build few instances, a call gets the champion of a longer call if that is within
/// kLeastGain of its own champion, and not slower than the defaults.
std::vector<TableRow> derive_rows(std::span<const Verdict> verdicts, const Machine& machine,
                                  const Sources& sources);

/// Removes this machine's rows with barred instances, whatever their origin and thread count.
void drop_barred_rows(ScheduleTable& table, std::span<const Verdict> verdicts,
                      const Machine& machine);

/// Whether a verdict was given on this CPU, with this target and Halide version.
bool same_build(const Verdict& verdict, const Machine& machine);
/// The same, with this number of threads.
bool same_machine(const Verdict& verdict, const Machine& machine);

}  // namespace mmrec::tune
