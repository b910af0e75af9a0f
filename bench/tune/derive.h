#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "bench/harness/race.h"
#include "bench/tune/log.h"
#include "generators/registry/schedule_table.h"

namespace mmrec::tune {

/// What derive_rows has to know of the registry.
struct Sources {
  std::function<std::string(const Call&)> default_variant;
  /// Whether a verdict is on code as it is today.
  std::function<bool(const Verdict&)> of_today;
};

/// The rows that a machine's log gives, one for each call that was timed: its champion. The first
/// one is what the first race's challengers had to beat; whoever beats the champion takes its
/// place, and who beats another one where the times over the defaults' say so as well. Of several
/// races between the same two the latest counts. Verdicts of other machines, targets, Halide
/// versions and numbers of threads do not count, nor those of other sources, nor instances that are
/// barred. Where the champion of a longer call is within kLeastGain of a call's own, and not slower
/// than the defaults, both get that one: few instances are built.
std::vector<Row> derive_rows(std::span<const Verdict> verdicts, const Machine& machine,
                             const Sources& sources);

/// Takes out this machine's rows with instances that are barred, wherever the rows are from and
/// whatever the number of threads.
void drop_barred_rows(ScheduleTable& table, std::span<const Verdict> verdicts,
                      const Machine& machine);

/// Whether a verdict was given on this CPU with this target and Halide version.
bool same_build(const Verdict& verdict, const Machine& machine);
/// And with this number of threads.
bool same_machine(const Verdict& verdict, const Machine& machine);

}  // namespace mmrec::tune
