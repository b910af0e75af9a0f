#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "train/search/search_space.h"
#include "train/search/settings.h"

namespace mmrec {

struct SearchOptions {
  SearchSpace space;
  int random = 0;   ///< number of random draws; 0: every combination of the grids
  Settings common;  ///< train options for all experiments
  std::filesystem::path out;
  uint64_t seed = 42;
  /// with successive halving, see search_rungs(): of the experiments that come to a rung one in so
  /// many goes on; 0: all run to their ends
  int stop_early = 0;
  bool retry_failed = false;
  bool quiet = false;         ///< print nothing to standard output
  bool hide_warnings = true;  ///< about the texts; with `quiet` warnings would go to standard error
};

/// Returns the experiments, those without Muon also without its settings, and each once. Throws a
/// UsageError if there are none or too few to stop some, or if none has the Muon that settings are
/// for.
std::vector<Settings> planned_experiments(const SearchOptions& options);

/// Returns what all experiments have in common: one epoch and the search's seed where nothing else
/// is said, and paths that are absolute. Throws a UsageError for a name that is no setting, and for
/// one that the search tries, too.
Settings common_settings(const SearchOptions& options);

/// Leaves out Muon's settings where `settings` have another optimizer, which refuses them.
Settings fitting_optimizer(Settings settings);

/// Returns the rungs of a search: the parts of a run after which its experiments are compared, and
/// 1, its end. With a factor (SearchOptions::stop_early) they are 1/factor, 1/factor^2, .., not
/// before the first tenth, in which the learning rate still rises; without, there is the end alone.
std::vector<double> search_rungs(int factor);

}  // namespace mmrec
