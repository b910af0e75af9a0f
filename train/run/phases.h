#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/config.h"
#include "model/growth.h"
#include "train/run/options.h"

namespace mmrec {

/// A part of a growing run (--grow): the steps begin + 1 .. end of a model of one size.
struct Phase {
  std::string size;  ///< as it was given: "mini", "mini+heads=8"
  Config config;     ///< with the preset's vocabulary; the run's is set later
  int64_t begin = 0, end = 0;
};

/// Parses `--grow`: "tiny:2000,mini+heads=8+layers=4:1000", presets with changed fields and their
/// steps. Throws a UsageError for anything else.
std::vector<Phase> parse_phases(std::string_view grow);

/// Returns a --grow with these fields ("dim=64") changed in each phase, after the phase's own.
std::string with_fields(std::string_view grow, const std::vector<std::string>& fields);

/// Returns a --grow in which the phases have this field ("gates=spread"), but those that have
/// another value for it or choose an architecture.
std::string with_default(std::string_view grow, std::string_view field);

/// Returns the index of the phase that a run with `step` steps is in: at the end of a phase, the
/// next one.
size_t phase_at(const std::vector<Phase>& phases, int64_t step);

/// Returns the number of steps of the shortest phase.
int64_t shortest_phase(const std::vector<Phase>& phases);

/// Throws a UsageError if a phase of options.grow cannot be trained with the other options, or
/// cannot grow from the one before.
void check_phases(const TrainOptions& options);

}  // namespace mmrec
