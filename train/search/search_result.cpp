#include "train/search/search_result.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "support/console.h"
#include "support/error.h"
#include "support/exceptions.h"
#include "support/names.h"
#include "support/strict_json.h"
#include "train/report/run_report.h"
#include "train/run/folder.h"

namespace mmrec {

namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

/// Returns what makes a run compare badly with the others, or "".
std::string warning_of(const RunReport& run, const Settings& settings) {
  for (const auto& [name, value] : settings)
    if (name == "precision" && value != run.precision)
      return fmt::format("it was computed in {}, not in {}, for which there were no kernels",
                         run.precision, value);
  return text_of(run.findings, "warm-up");
}

}  // namespace

SearchResult failed_result(const Settings& settings, const std::string& folder,
                           const std::string& error) {
  return {.settings = settings, .folder = folder, .error = error};
}

SearchResult result_of_run(const Settings& settings, const std::string& folder,
                           const fs::path& run_folder, double rung) try {
  const RunReport run = read_run(run_folder);
  if (!run.best)
    return failed_result(settings, folder,
                         "there was no validation; give --val-split or a text with a part for it");
  const MetricsRow& last = run.validation.back();
  return {.settings = settings,
          .folder = folder,
          .error = "",
          .warning = warning_of(run, settings),
          .validation_loss = last.loss,
          .bits_per_byte = last.bits_per_byte,
          .accuracy = last.accuracy,
          .best_validation_loss = run.best->loss,
          .train_loss = run.epochs.back().mean,
          .best_step = run.best->step,
          .steps = run.steps(),
          .tokens = run.tokens(),
          .seconds = run.seconds(),
          .part = fs::exists(run_folder / RunFolder::kFinal) ? 1 : rung};
} catch (const Error& error) {  // the run's files were damaged
  return failed_result(settings, folder, error.what());
}

SearchResult result_from_json(const ordered_json& row, const std::string& where) {
  try {
    SearchResult result =
        failed_result({}, row.at("folder"), name_of_text(row.at("error").get<std::string>()));
    for (const auto& [name, value] : row.at("settings").items())
      result.settings.emplace_back(name, name_of_text(value.get<std::string>()));
    if (!result.error.empty()) return result;
    result.validation_loss = row.at("validation_loss");
    result.bits_per_byte = row.value("bits_per_byte", SearchResult::kNone);
    result.accuracy = row.at("accuracy");
    result.best_validation_loss = row.at("best_validation_loss");
    result.train_loss = row.at("train_loss");
    for (const auto& [name, value] : {std::pair("best_step", &result.best_step),
                                      {"steps", &result.steps},
                                      {"tokens", &result.tokens}}) {
      const std::optional<uint64_t> number = whole_number(row.at(name));
      if (!number) fail("{}: not a result of a search: {} is {}", where, name, row.at(name).dump());
      *value = static_cast<int64_t>(*number);
    }
    result.seconds = row.at("seconds");
    result.warning = row.value("warning", "");
    result.part = row.value("part", 1.);
    return result;
  } catch (const nlohmann::json::exception& error) {
    fail("{}: not a result of a search: {}", where, in_words(error));
  }
}

void rank(std::vector<SearchResult>& results) {
  const bool has_bits = std::ranges::all_of(results, [](const SearchResult& result) {
    return !result.error.empty() || std::isfinite(result.bits_per_byte);
  });
  const auto figure = has_bits ? &SearchResult::bits_per_byte : &SearchResult::validation_loss;
  std::ranges::stable_sort(results, {}, [&](const SearchResult& result) {
    return result.error.empty() ? result.*figure : std::numeric_limits<double>::infinity();
  });
}

std::string figures(const SearchResult& result) {
  return fmt::format("validation loss {:.4f}, perplexity {:.3f}{}", result.validation_loss,
                     std::exp(result.validation_loss),
                     std::isfinite(result.bits_per_byte)
                         ? fmt::format(", {:.3f} bits a byte", result.bits_per_byte)
                         : "");
}

std::vector<SearchResult> newest(const std::vector<SearchResult>& results) {
  std::vector<SearchResult> last;
  for (const SearchResult& result : results) {
    const auto earlier = std::ranges::find(last, result.settings, &SearchResult::settings);
    if (earlier == last.end())
      last.push_back(result);
    else
      *earlier = result;
  }
  return last;
}

double seconds_saved(const std::vector<SearchResult>& results) {
  double seconds = 0;
  for (const SearchResult& result : results)
    if (result.error.empty()) seconds += result.seconds * (1 / result.part - 1);
  return seconds;
}

ordered_json to_json(const SearchResult& result) {
  ordered_json row = {{"settings", to_json(result.settings)},
                      {"folder", result.folder},
                      {"error", text_of_name(result.error)}};
  if (!result.error.empty()) return row;
  if (!result.warning.empty()) row["warning"] = result.warning;
  row.update({{"validation_loss", result.validation_loss},
              {"perplexity", std::exp(result.validation_loss)},
              {"accuracy", result.accuracy},
              {"best_validation_loss", result.best_validation_loss},
              {"best_step", result.best_step},
              {"train_loss", result.train_loss},
              {"steps", result.steps},
              {"tokens", result.tokens},
              {"seconds", result.seconds}});
  if (std::isfinite(result.bits_per_byte)) row["bits_per_byte"] = result.bits_per_byte;
  if (result.part < 1) row["part"] = result.part;
  return row;
}

TableRows search_rows(const std::vector<SearchResult>& results, bool with_errors) {
  std::vector<std::string> names;  // experiments of different calls may set different names
  for (const SearchResult& result : results)
    for (const auto& [name, value] : result.settings)
      if (std::ranges::find(names, name) == names.end()) names.push_back(name);
  TableRows rows = {names};
  const bool some_stopped =
      std::ranges::any_of(results, [](const SearchResult& result) { return result.part < 1; });
  if (some_stopped) rows.front().push_back("stopped");
  rows.front().insert(rows.front().end(), {"bits/byte", "perplexity", "loss", "accuracy",
                                           "train loss", "steps", "time"});
  if (with_errors) rows.front().push_back("error");
  for (const SearchResult& result : results) {
    std::vector<std::string>& row = rows.emplace_back();
    for (const std::string& name : names) {
      const auto setting = std::ranges::find(result.settings, name, &Settings::value_type::first);
      row.push_back(setting == result.settings.end() ? "" : setting->second);
    }
    if (some_stopped) row.push_back(result.part < 1 ? fmt::format("step {}", result.steps) : "");
    if (result.error.empty()) {
      row.insert(
          row.end(),
          {std::isfinite(result.bits_per_byte) ? fmt::format("{:.4f}", result.bits_per_byte) : "",
           fmt::format("{:.3f}", std::exp(result.validation_loss)),
           fmt::format("{:.4f}", result.validation_loss), percent(result.accuracy),
           fmt::format("{:.4f}", result.train_loss), fmt::format("{}", result.steps),
           format_duration(result.seconds)});
    } else {
      row.push_back("failed");
      row.resize(rows.front().size());
      if (with_errors) row.back() = result.error;
    }
  }
  return rows;
}

std::string search_table(const std::vector<SearchResult>& results, size_t width) {
  std::string failures, warning;
  int64_t warnings = 0;
  for (const SearchResult& result : results) {
    if (!result.error.empty())
      failures += fmt::format("{} failed: {}\n", describe(result.settings), result.error);
    if (!result.warning.empty() && ++warnings == 1)
      warning = fmt::format("{}: {}", describe(result.settings), result.warning);
  }
  if (warnings > 0)
    failures +=
        fmt::format("warning: {}{}\n", warning,
                    warnings > 1 ? fmt::format(" (so it is with {} experiments)", warnings) : "");
  return text_table(search_rows(results, false), width) + failures;
}

}  // namespace mmrec
