#include <cstring>
#include <string>

#include "bench/tune/apply.h"
#include "bench/tune/candidate.h"
#include "bench/tune/commands.h"
#include "runtime/threads.h"
#include "train/programs/command_line.h"

namespace mmrec::tune {
namespace {

void add_step(CLI::App* command, Selection& selection, bool several) {
  CLI::Option* config = command->add_option(
      "--config", selection.configs, "whose training step: a preset or a JSON file of fields");
  if (several)
    config->description("whose training steps: presets or JSON files of fields, joined by commas")
        ->delimiter(',');
  else
    config->expected(1);
  number(*command, "--batch", selection.batch, "windows a step", {.at_least = 1});
  number(*command, "--seq", selection.sequence, "tokens a window", {.at_least = 1});
  command
      ->add_option_function<std::string>(
          "--precision",
          [&](const std::string& name) {
            selection.precision = name == "bf16" ? Precision::kBf16 : Precision::kFloat32;
          },
          "of the step's products: float32, or bf16 where the CPU can")
      ->check(CLI::IsMember({"float32", "bf16"}));
}

void add_kernels(CLI::App* command, Selection& selection) {
  command->add_option("--op", selection.op, "only this operation");
  command->add_option("--pass", selection.pass, "only this pass");
}

}  // namespace
}  // namespace mmrec::tune

int main(int argc, char** argv) {
  using namespace mmrec;
  using namespace mmrec::tune;
  if (argc == 3 && std::strcmp(argv[1], kCandidateCommand) == 0) return candidate_main(argv[2]);

  Program program(
      "tune", "Finds the schedules that are fastest on this machine, and remembers them.",
      "tune sweep --config tiny --budget 5m && tune apply && tune verify && tune measure");
  Common common;
  Selection selection;
  SweepCommand sweep_command;
  bool alone = false;
  CLI::App& app = program.app();
  app.add_flag("--json", common.json, "print results as JSON");
  app.require_subcommand(1);

  CLI::App* list_app = app.add_subcommand(
      "list", "the parameters of each kernel that may be tuned, and their values");
  add_kernels(list_app, selection);

  CLI::App* sweep_app = app.add_subcommand("sweep",
                                           "try instances of the kernels that a training step "
                                           "calls; can be stopped at any time and goes on there");
  add_step(sweep_app, selection, true);
  add_kernels(sweep_app, selection);
  sweep_app->add_option(
      "--shape", selection.shape,
      "only this shape, such as 512x128x128, whether or not a step has it; goes with --op");
  sweep_app->add_option("--budget", sweep_command.budget,
                        "how long it may take: seconds, or 90s, 5m, 1h");
  sweep_app->add_flag("--grid", sweep_command.grid,
                      "try all instances in turn instead of searching");
  number(*sweep_app, "--compile-limit", sweep_command.compile_limit,
         "seconds that compiling and checking an instance may take", {.more_than = 0});

  CLI::App* show_app = app.add_subcommand(
      "show", "the table, with the time of the generators' defaults and of the tuned instance");
  add_kernels(show_app, selection);
  CLI::App* compare_app =
      app.add_subcommand("compare",
                         "time an operation's kernels by hand, tuned and, where there is a plain "
                         "algorithm, as Halide and its autoschedulers make them");
  add_step(compare_app, selection, true);
  add_kernels(compare_app, selection);
  compare_app->add_option("--shape", selection.shape, "only this shape, such as 512x128x128");
  CLI::App* apply_app = app.add_subcommand("apply", "build the kernels that the table says");
  CLI::App* verify_app = app.add_subcommand(
      "verify", "run the tests of the tuned operations; rows of one whose tests fail are dropped");
  CLI::App* measure_app =
      app.add_subcommand("measure",
                         "time a training step, by default the last sweep's, and its kernels "
                         "before and after the last apply, in turn");
  add_step(measure_app, selection, false);
  measure_app->add_flag("--alone", alone, "only as they are built now");

  return program.run(argc, argv, [&] {
    Tree::ours();  // throws before anything is written
    common.seed = program.seed();
    common.quiet = program.quiet();
    common.threads = num_threads();
    sweep_command.selection = selection;
    if (list_app->parsed()) list(common, selection);
    if (sweep_app->parsed()) sweep(common, sweep_command);
    if (show_app->parsed()) show(common, selection);
    if (compare_app->parsed()) compare(common, selection);
    if (apply_app->parsed()) apply(common);
    if (verify_app->parsed()) verify(common);
    if (measure_app->parsed()) {
      if (const auto swept = read_swept_step(Tree::ours().swept_step())) {
        if (measure_app->count("--config") == 0) selection.configs = {swept->step.config};
        if (measure_app->count("--batch") == 0) selection.batch = swept->step.batch;
        if (measure_app->count("--seq") == 0) selection.sequence = swept->step.sequence;
        if (measure_app->count("--precision") == 0) selection.precision = swept->step.precision;
        if (app.count("--threads") == 0) set_num_threads(common.threads = swept->threads);
      }
      measure(common, selection.step(selection.configs.front()), alone);
    }
  });
}
