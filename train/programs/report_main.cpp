#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "support/atomic_file.h"
#include "support/console.h"
#include "support/html_page.h"
#include "support/names.h"
#include "train/programs/command_line.h"
#include "train/report/report_html.h"
#include "train/report/report_text.h"
#include "train/report/run_report.h"

int main(int argc, char** argv) {
  using namespace mmrec;
  Program program("report", "Shows how runs of train went.",
                  "report checkpoints/first checkpoints/second --html report.html");
  std::vector<std::string> paths;
  std::string html;
  bool json = false;

  CLI::App& app = program.app();
  app.add_option("run", paths, "folders of runs (the --out of train); several are compared")
      ->required();
  app.add_option("--html", html, "also write a page with plots to this file");
  app.add_flag("--json", json, "print the figures as JSON");

  return program.run(argc, argv, [&] {
    if (!html.empty()) check_is_page(html);
    const std::vector<RunReport> runs = read_runs(paths, print_warning);
    if (!html.empty()) write_file_atomically(html, report_html(runs));
    if (json)
      print(stdout, to_json(runs).dump(2) + "\n");
    else if (!program.quiet())
      print(stdout, visible(report_text(runs, Console(false).status_width())));
  });
}
