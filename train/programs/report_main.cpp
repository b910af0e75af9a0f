#include <fmt/core.h>
#include <poll.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>

#include "support/atomic_file.h"
#include "support/console.h"
#include "support/directory_lock.h"
#include "support/html_page.h"
#include "support/names.h"
#include "support/stop_signals.h"
#include "train/programs/command_line.h"
#include "train/report/report_html.h"
#include "train/report/report_text.h"
#include "train/report/run_report.h"
#include "train/run/folder.h"

using namespace mmrec;

namespace {

/// The runs of a look at folders that processes may be writing to.
struct Look {
  std::vector<RunReport> runs;
  std::vector<std::string> starting;  ///< names of runs that have no step yet
  bool live() const { return !starting.empty() || std::ranges::any_of(runs, &RunReport::live); }
};

Look look_at(const std::vector<std::string>& paths,
             const std::function<void(const std::string& problem)>& warn) {
  Look look;
  std::vector<std::string> begun;
  for (const std::string& path : paths) {
    const std::filesystem::path folder(path);
    const bool has_steps =
        exists(folder / RunFolder::kMetrics) && file_size(folder / RunFolder::kMetrics) > 0;
    if (!has_steps && is_directory(folder) && is_locked(folder))
      look.starting.push_back(path);
    else
      begun.push_back(path);
  }
  if (!begun.empty()) look.runs = read_runs(begun, warn, !look.starting.empty());
  return look;
}

/// Returns the runs in a folder of runs, such as checkpoints, in place of the folder.
std::vector<std::string> with_runs_of_folders(const std::vector<std::string>& paths) {
  std::vector<std::string> runs;
  for (const std::string& path : paths) {
    const std::vector<std::filesystem::path> below =
        exists(std::filesystem::path(path) / RunFolder::kMetrics)
            ? std::vector<std::filesystem::path>()
            : runs_in(path);
    for (const std::filesystem::path& run : below) runs.push_back(run.string());
    if (below.empty()) runs.push_back(path);
  }
  return runs;
}

/// Shows the runs again and again until all have ended or a signal comes; without a terminal, once.
/// html: the page to keep up to date, or "".
void watch_runs(const std::vector<std::string>& paths, const std::string& html, bool quiet) {
  constexpr int kMilliseconds = 2000;
  const StopSignals stop(false);
  Console console(quiet);
  for (std::function<void(const std::string&)> warn = print_warning;;
       warn = [](const std::string&) {}) {  // once; it would tear the table
    const Look look = look_at(paths, warn);
    if (!html.empty() && !look.runs.empty()) write_file_atomically(html, report_html(look.runs));
    console.redraw(watch_text(look.runs, look.starting, console.status_width()));
    if (!look.live() || !console.has_status()) return;
    ::poll(nullptr, 0, kMilliseconds);  // a signal ends it
    if (stop.received() != 0) return;
  }
}

}  // namespace

int main(int argc, char** argv) {
  Program program("report", "Shows how runs of train went.",
                  "report checkpoints/first checkpoints/second --html report.html\n"
                  "  report checkpoints               all runs in it");
  std::vector<std::string> paths;
  std::string html;
  bool json = false, watch = false;

  CLI::App& app = program.app();
  app.add_option(
         "run", paths,
         "folders of runs (the --out of train), or one that they are in; several are compared")
      ->required();
  app.add_option("--html", html, "also write a page with plots to this file");
  CLI::Option* as_json = app.add_flag("--json", json, "print the figures as JSON");
  app.add_flag("--watch", watch,
               "follow runs in a table until all have ended, or until Ctrl-C; the page of --html "
               "is kept up to date")
      ->excludes(as_json);

  return program.run(argc, argv, [&] {
    if (!html.empty()) check_is_page(html);
    paths = with_runs_of_folders(paths);
    if (watch) return watch_runs(paths, html, program.quiet());
    const std::vector<RunReport> runs = read_runs(paths, print_warning);
    if (!html.empty()) write_file_atomically(html, report_html(runs));
    if (json)
      print(stdout, to_json(runs).dump(2) + "\n");
    else if (!program.quiet())
      print(stdout, visible(report_text(runs, Console(false).status_width())));
  });
}
