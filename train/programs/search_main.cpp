#include <fmt/ranges.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "runtime/threads.h"
#include "support/atomic_file.h"
#include "support/console.h"
#include "support/error.h"
#include "support/names.h"
#include "train/programs/command_line.h"
#include "train/programs/ranks_of_program.h"
#include "train/ranks/ranks.h"
#include "train/search/search.h"
#include "train/search/workers.h"

namespace {

using namespace mmrec;

/// Parses the options of train after "--": --name value, --name=value, or --name alone for a flag.
/// --set field=value becomes a setting with the field's name.
Settings train_options(const std::vector<std::string>& words) {
  Settings settings;
  for (size_t i = 0; i < words.size(); ++i) {
    if (!words[i].starts_with("--"))
      fail_usage("unexpected argument {}; options of train follow -- as --name value", words[i]);
    const size_t equals = words[i].find('=');
    std::string name = words[i].substr(2, equals - 2), value = "true";
    if (equals != words[i].npos)
      value = words[i].substr(equals + 1);
    else if (i + 1 < words.size() && !words[i + 1].starts_with("--"))
      value = words[++i];
    if (name == "set") {
      const size_t assign = value.find('=');
      if (assign == value.npos) fail_usage("--set {}: expected field=value", value);
      name = value.substr(0, assign);
      value = value.substr(assign + 1);
    }
    settings.emplace_back(name, value);
  }
  return settings;
}

bool has_failed(const SearchResult& result) { return !result.error.empty(); }

/// Says how much shorter the search was because it stopped experiments; "" if it stopped none.
std::string savings(const std::vector<SearchResult>& results) {
  const auto stopped =
      std::ranges::count_if(results, [](const SearchResult& result) { return result.part < 1; });
  if (stopped == 0) return "";
  double trained = 0;
  for (const SearchResult& result : results)
    if (!has_failed(result)) trained += result.seconds;
  return fmt::format(
      "{} of {} experiments were stopped early: {} of training in place of about {}\n", stopped,
      results.size(), format_duration(trained), format_duration(trained + seconds_saved(results)));
}

/// Prints the results and what to do next. Throws if there is no best one.
void show(const SearchOutcome& outcome, const SearchOptions& options, bool json) {
  if (json) {
    nlohmann::ordered_json rows = nlohmann::ordered_json::array();
    for (const SearchResult& result : outcome.results) rows.push_back(to_json(result));
    print(stdout, rows.dump(2) + "\n");
  } else if (!options.quiet && !outcome.results.empty()) {
    print(stdout, "\n" + visible(search_table(outcome.results, Console(false).status_width())));
  }
  if (outcome.signal != 0) {
    if (!options.quiet) print(stdout, "stopped; the same command goes on\n");
    return;
  }
  const auto failures = std::ranges::count_if(outcome.results, &has_failed);
  if (failures > 0 && !options.quiet)
    print(stdout, fmt::format("{} failed; with --retry-failed they are done again\n", failures));
  if (!outcome.interrupted.empty()) {
    std::vector<std::string> names;
    for (const Settings& settings : outcome.interrupted) names.push_back(describe(settings));
    fail("{} of the experiments stopped from outside ({}); the same command goes on", names.size(),
         fmt::join(names, "; "));
  }
  const SearchResult& first = outcome.results.front();
  if (!first.error.empty() || first.part < 1)
    fail("no experiment succeeded; the first failed with: {}",
         std::ranges::find_if(outcome.results, &has_failed)->error);
  if (!options.quiet) print(stdout, savings(outcome.results));
  const std::string best = shell_quoted((outcome.folder / "best.toml").string());
  if (!options.quiet)
    print(stdout,
          fmt::format("\nthe best as a file: train --options {} --out checkpoints/best\n", best));
}

constexpr std::string_view kCsv = ".csv", kMarkdown = ".md";

/// Throws an error if write_table could not write the file.
void check_table(const std::filesystem::path& file) {
  if (file.extension() != kCsv && file.extension() != kMarkdown)
    fail_usage("--table {}: the name must end in {} or {}", file.string(), kCsv, kMarkdown);
  check_writable(file);
}

void write_table(const std::filesystem::path& file, const std::vector<SearchResult>& results) {
  const TableRows rows = search_rows(results, true);
  write_file_atomically(file, file.extension() == kCsv ? csv_table(rows) : markdown_table(rows));
}

}  // namespace

int main(int argc, char** argv) {
  Program program("search", "Trains with several settings and says which are best.",
                  "search --data book.txt --grid lr=1e-3,3e-3 --grid batch=4,8 --steps 500 --out "
                  "checkpoints/search -- --vocab auto --dropout 0\n"
                  "  mpirun -n 8 search ..            the same, eight experiments at a time");
  SearchOptions options;
  std::vector<std::string> grids, ranges, rest;
  std::string data, config, table;
  int epochs = 0;
  int64_t steps = 0;
  int jobs = 1;
  bool json = false;
  options.out = "checkpoints/search";

  CLI::App& app = program.app();
  app.add_option("--grid", grids,
                 "name=value,value,..: values to try of an option of train or a field of its "
                 "configuration; may be repeated")
      ->allow_extra_args(false);
  app.add_option("--range", ranges,
                 "name=low:high, also with :linear or :log behind: with --random, numbers to draw "
                 "from; whole ones if both ends are")
      ->allow_extra_args(false);
  number(app, "--random", options.random, "experiments to draw, in place of every combination",
         {.at_least = 1, .at_most = 100'000});
  app.add_option("--data", data, "as of train");
  app.add_option("--config", config, "as of train");
  number(app, "--epochs", epochs, "of each experiment (default: 1)", {.at_least = 1})
      ->default_str("");
  number(app, "--steps", steps, "of each experiment, in place of --epochs",
         {.at_least = 1, .at_most = 1e12})
      ->default_str("");
  app.add_option("--out", options.out,
                 "where the experiments and results go; a search that is there goes on");
  number(app, "--jobs", jobs, "experiments side by side (of each rank), which share the threads",
         {.at_least = 1, .at_most = 1024});
  number(app, "--stop-early", options.stop_early,
         "stop the worse experiments after a part of their steps, from a tenth on: of those that "
         "come so far one in N goes on to the next part; 2 where no N is given",
         {.at_least = 2, .at_most = 10})
      // No word of its own, so N needs a "=": CLI11 would take a "--" behind an optional word. Only
      // these two numbers leave the default what it is, with one it would be "true".
      ->expected(0, 0)
      ->default_str("2")
      ->option_text("[=N]");
  app.add_flag("--retry-failed", options.retry_failed, "do failed experiments again");
  app.add_flag("--json", json, "print the results as JSON");
  app.add_option("--table", table,
                 "also write the table of results to this file: .csv, or .md for Markdown");
  app.add_option("train", rest, "further options of train for all experiments, after --");

  std::unique_ptr<Ranks> ranks;
  begin_as_rank(program, ranks);
  int signal = 0;
  const int code = program.run(argc, argv, [&] {
    program.share_cores(ranks->sharing_cores());
    Workers workers(*ranks, jobs, num_threads());
    if (!ranks->leads()) return workers.obey();
    for (const std::string& grid : grids) options.space.grids.push_back(parse_grid(grid));
    for (const std::string& range : ranges) options.space.ranges.push_back(parse_range(range));
    for (const auto& [name, value] : {std::pair("data", data), {"config", config}})
      if (!value.empty()) options.common.emplace_back(name, value);
    for (const auto& [name, value] : {std::pair("epochs", int64_t{epochs}), {"steps", steps}})
      if (value > 0) options.common.emplace_back(name, std::to_string(value));
    const Settings more = train_options(rest);
    options.common.insert(options.common.end(), more.begin(), more.end());
    options.seed = program.seed();
    options.quiet = program.quiet() || json;
    options.hide_warnings = program.quiet();

    if (!table.empty()) check_table(table);
    const SearchOutcome outcome = search(options, workers);
    if (!table.empty()) write_table(table, outcome.results);
    signal = outcome.signal;
    show(outcome, options, json);
  });
  return code == 0 && signal != 0 ? 128 + signal : code;
}
