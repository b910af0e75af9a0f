#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "support/text_table.h"
#include "train/search/settings.h"

namespace mmrec {

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

SearchResult failed_result(const Settings& settings, const std::string& folder,
                           const std::string& error);

/// Returns the result of a run that has come to `rung`, or ended.
SearchResult result_of_run(const Settings& settings, const std::string& folder,
                           const std::filesystem::path& run_folder, double rung);

nlohmann::ordered_json to_json(const SearchResult& result);
/// The inverse. Throws an Error that begins with `where` if it is none.
SearchResult result_from_json(const nlohmann::ordered_json& row, const std::string& where);

/// Sorts results: the best first, failed ones last. By bits per byte, which compare also where the
/// tokens are different; by loss if a result, of an earlier version, does not have them.
void rank(std::vector<SearchResult>& results);

/// Returns the last result of each experiment.
std::vector<SearchResult> newest(const std::vector<SearchResult>& results);

/// Returns "validation loss 1.4485, perplexity 4.257, 2.090 bits a byte".
std::string figures(const SearchResult& result);

/// Returns the seconds that the experiments which were stopped early would have taken to their ends
/// with the speed that they had.
double seconds_saved(const std::vector<SearchResult>& results);

/// Returns the settings and figures of each result as cells, below a header. `with_errors`: and in
/// a last column why it failed.
TableRows search_rows(const std::vector<SearchResult>& results, bool with_errors);
/// Formats a table, one row per result, at most `width` characters wide if the settings allow it.
std::string search_table(const std::vector<SearchResult>& results, size_t width);

}  // namespace mmrec
