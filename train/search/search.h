#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "support/text_table.h"
#include "train/search/search_space.h"
#include "train/search/workers.h"

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

/// Result of an experiment, at its end or at a rung: a line of results.jsonl. Figures are NaN if it
/// failed.
struct SearchResult {
  static constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

  Settings settings;
  std::string folder;              ///< name of the run's folder in experiments/
  std::string error = {};          ///< why it failed, or ""
  std::string warning = {};        ///< about what makes the run compare badly, or ""
  double validation_loss = kNone;  ///< of the last validation
  double bits_per_byte = kNone;    ///< of the last validation; NaN in results of earlier versions
  double accuracy = kNone, best_validation_loss = kNone, train_loss = kNone;
  int64_t best_step = 0, steps = 0, tokens = 0;
  double seconds = kNone;
  double part = 1;  ///< of its run; less than 1: it has only come to this rung
};

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

/// Returns the rungs of a search: the parts of a run after which its experiments are compared, and
/// 1, its end. With a factor (SearchOptions::stop_early) they are 1/factor, 1/factor^2, .., not
/// before the first tenth, in which the learning rate still rises; without, there is the end alone.
std::vector<double> search_rungs(int factor);

/// Returns the seconds that the experiments which were stopped early would have taken to their ends
/// with the speed that they had.
double seconds_saved(const std::vector<SearchResult>& results);

/// Returns the settings and figures of each result as cells, below a header. `with_errors`: and in
/// a last column why it failed.
TableRows search_rows(const std::vector<SearchResult>& results, bool with_errors);
/// Formats a table, one row per result, at most `width` characters wide if the settings allow it.
std::string search_table(const std::vector<SearchResult>& results, size_t width);
nlohmann::ordered_json to_json(const SearchResult& result);

}  // namespace mmrec
