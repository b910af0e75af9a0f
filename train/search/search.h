#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "train/search/search_space.h"

namespace mmrec {

struct SearchOptions {
  SearchSpace space;
  int random = 0;   ///< draws; 0: every combination of the grids
  Settings common;  ///< options of train for all experiments
  std::filesystem::path out;
  int jobs = 1;     ///< experiments side by side
  int threads = 1;  ///< that they share
  uint64_t seed = 42;
  bool retry_failed = false;
  bool quiet = false;         ///< nothing on standard output
  bool hide_warnings = true;  ///< of the texts, which go to standard error where `quiet`
};

/// What came of an experiment: a line of results.jsonl. Figures are NaN where it failed.
struct SearchResult {
  Settings settings;
  std::string folder;      ///< of the run, in the search's folder
  std::string error;       ///< why it failed, or ""
  std::string warning;     ///< of a warm-up that fills the run, or ""
  double validation_loss;  ///< of the last validation
  double accuracy, best_validation_loss, train_loss;
  int64_t best_step, steps, tokens;
  double seconds;
};

struct SearchOutcome {
  std::vector<SearchResult> results;  ///< the best first, failed ones last
  std::vector<Settings> interrupted;  ///< experiments that somebody stopped by a signal; they can go on
  std::filesystem::path folder;       ///< options.out, or what it is called in the end
  int signal = 0;                     ///< that asked the search for a stop before all was done, or 0
};

/// Trains once for each of the settings, each in a process of its own: one that fails, runs out of memory or is killed is a row
/// among the results and no more; one that cannot be started waits for another's end. Leaves in options.out: search.json (what all
/// experiments have in common, and what the names of texts, weights and configurations stand for), results.jsonl (a line for each
/// that ended), the runs in experiments/, and best.toml, the options of the best experiment for `train --options`. A search in a
/// folder that has results already goes on with it: what ended is not done again, what was interrupted is resumed. A text, weights or
/// a configuration that cannot be read is an error before the first experiment.
SearchOutcome search(const SearchOptions& options);

/// A table, one row a result, of at most `width` characters where the settings allow it.
std::string search_table(const std::vector<SearchResult>& results, size_t width);
nlohmann::ordered_json to_json(const SearchResult& result);

}  // namespace mmrec
