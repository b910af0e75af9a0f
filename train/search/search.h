#pragma once

#include <filesystem>
#include <vector>

#include "train/search/search_plan.h"
#include "train/search/search_result.h"
#include "train/search/settings.h"
#include "train/search/workers.h"

namespace mmrec {

struct SearchOutcome {
  /// of each experiment the newest: the best first, then those that were stopped early, those that
  /// came farthest first, then the failed
  std::vector<SearchResult> results;
  /// experiments stopped by a signal from outside; they can be resumed
  std::vector<Settings> interrupted;
  std::filesystem::path folder;  ///< options.out, or its new name if it was renamed
  int signal = 0;                ///< signal that stopped the search, or 0
};

/// Trains once for each combination of settings, each in its own process, which the workers run. An
/// experiment that fails, runs out of memory or is killed becomes a failed result, nothing more. If
/// a process cannot be started, the search waits for another experiment to end. Writes to
/// options.out:
/// - search.json: common settings, and the identity of the named texts, weights and configurations
/// - results.jsonl: one line per finished experiment, and one per rung that it came to
/// - experiments/: the runs
/// - best.toml: options of the best experiment, for `train --options`
/// If the folder already holds results, the search continues: finished experiments are not
/// repeated, interrupted ones are resumed. Throws before the first experiment if a text, checkpoint
/// or configuration cannot be read.
///
/// With options.stop_early all experiments run to the first rung, the best of them go on to the
/// next, and so on. Who goes on depends on the results at the rung alone: on no time and no order,
/// so that a search that goes on decides as one that was never stopped.
SearchOutcome search(const SearchOptions& options, Workers& workers);

}  // namespace mmrec
