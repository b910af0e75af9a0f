#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "bench/tune/log.h"
#include "bench/tune/schedule_table.h"

namespace mmrec::tune {

/// What a winner must have over the incumbent, a part of the incumbent's time; and what a shape must gain from an instance of
/// its own over one that serves other shapes already.
constexpr double kLeastGain = 0.02;

/// What derive_rows has to know of the registry.
struct Sources {
  std::function<std::string(const Call&)> default_variant;
  /// The hash of the source files of a variant's generator; empty where there is no such variant any more.
  std::function<std::string(const Call&, const std::string& variant)> source;
};

/// The rows that a machine's log gives, one for each call that was timed: its winner, or where nothing won the default variant with
/// its generator's defaults. Verdicts of other machines, targets, Halide versions and numbers of threads do not count, nor those of other
/// sources, nor instances that have ever been found wrong. Where the winner of another shape is within kLeastGain of a shape's
/// own, both get that one: few instances are built.
std::vector<Row> derive_rows(std::span<const Verdict> verdicts, const Machine& machine, const Sources& sources);

/// Takes out this machine's rows with instances that have been found wrong, wherever the rows are from.
void drop_wrong_rows(ScheduleTable& table, std::span<const Verdict> verdicts, const Machine& machine);

/// Whether a verdict was given on this machine, with this target, Halide version and number of threads.
bool same_machine(const Verdict& verdict, const Machine& machine);

}  // namespace mmrec::tune
