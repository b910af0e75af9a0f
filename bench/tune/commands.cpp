#include "bench/tune/commands.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

#include "bench/harness/print.h"
#include "bench/harness/table.h"
#include "bench/tune/apply.h"
#include "bench/tune/builds.h"
#include "bench/tune/measure.h"
#include "bench/tune/sweep.h"
#include "bench/workloads/workloads.h"
#include "runtime/machine.h"
#include "runtime/threads.h"
#include "support/error.h"
#include "support/names.h"
#include "support/parse_number.h"

namespace mmrec::tune {

namespace {

using bench::print_line;

/// Calls with a smaller part of the step's time are not tuned.
constexpr double kLeastShare = 1e-3;

std::vector<int> parse_shape(const std::string& text) {
  constexpr int kTooLarge = 1'000'000'000;
  std::vector<int> sizes;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('x', begin), text.size());
    const int size =
        parse_number<int>(std::string_view(text).substr(begin, end - begin)).value_or(0);
    if (size < 1 || size >= kTooLarge)
      fail_usage("--shape {}: expected sizes joined by x, such as 512x128x128", text);
    sizes.push_back(size);
    begin = end + 1;
  }
  return sizes;
}

std::vector<const KernelEntry*> selected_kernels(const Selection& selection) {
  const std::vector<const KernelEntry*> found = default_kernels(selection.op, selection.pass);
  if (!found.empty()) return found;
  std::vector<std::string> ops = mmrec::operation_names();
  fail_usage("there is no kernel {}{}{}; operations are: {}", selection.op,
             selection.pass.empty() ? "" : ".", selection.pass, fmt::join(ops, ", "));
}

nlohmann::json row_json(const TableRow& row) {
  nlohmann::json json = nlohmann::json::parse(row_line(row));
  json["speed_up"] = row.speed_up();
  return json;
}

/// Whether calls get the instance of a row of this CPU. Of rows for several thread counts, a build
/// uses the row for all of the machine's threads.
bool is_built(const TableRow& row) {
  return row.threads != available_threads() || chosen_instance(row.call) == row.instance;
}

/// Prints what a sweep did. `calls` has the calls' times in the step.
void report(const std::vector<Swept>& swept, const std::vector<StepCall>& calls, bool json,
            Console& display) {
  double all = 0, tuned = 0;  // summed time of the calls
  int compiled = 0, timed = 0;
  nlohmann::json rows = nlohmann::json::array(), kernels = nlohmann::json::array();
  for (const Swept& kernel : swept) {
    compiled += kernel.compiled;
    timed += kernel.timed;
    kernels.push_back({{"op", kernel.pass.op},
                       {"pass", kernel.pass.pass},
                       {"dtype", kernel.pass.dtype},
                       {"space", kernel.space},
                       {"compiled", kernel.compiled},
                       {"timed", kernel.timed},
                       {"seconds", kernel.seconds},
                       {"finished", kernel.finished}});
    for (const TableRow& row : kernel.rows) {
      rows.push_back(row_json(row));
      const double part = std::ranges::find(calls, row.call, &StepCall::call)->seconds;
      all += part;
      tuned += part * row.seconds / row.default_seconds;
    }
  }
  if (json) return print_line("{}", nlohmann::json({{"rows", rows}, {"kernels", kernels}}).dump(1));
  display.line(fmt::format(
      "\n{} instances compiled, {} timed; {} of {} searches have tried all that is near their best",
      compiled, timed, std::ranges::count(swept, true, &Swept::finished), swept.size()));
  if (all > 0)
    display.line(
        fmt::format("by their parts of the step, the tuned calls are {:.3f} times as fast as with "
                    "the generators' defaults",
                    all / tuned));
  const auto pending = [](const Swept& kernel) {
    return !std::ranges::all_of(kernel.rows, is_built);
  };
  if (std::ranges::any_of(swept, pending)) display.line("'tune apply' builds them");
}

}  // namespace

std::vector<StepCall> calls_of_shape(std::span<const KernelEntry* const> kernels,
                                     const std::string& shape) {
  std::vector<StepCall> calls;
  for (const KernelEntry* kernel : kernels) {
    if (std::ranges::count(precisions(), precision_of(kernel->dtype)) == 0) continue;
    const Call call = call_of(kernel->op, kernel->pass, parse_shape(shape), kernel->dtype);
    if (std::ranges::find(calls, call, &StepCall::call) == calls.end())
      calls.push_back({.call = call, .seconds = 1});
  }
  return calls;
}

std::vector<StepCall> selected_calls(const Selection& selection, uint64_t seed) {
  const std::vector<const KernelEntry*> selected = selected_kernels(selection);
  std::vector<StepCall> calls;
  if (!selection.shape.empty()) {
    if (selection.op.empty()) fail_usage("--shape goes with --op");
    return calls_of_shape(selected, selection.shape);
  }
  for (const std::string& config : selection.configs) {
    const std::vector<StepCall> of_step = record_step(selection.step(config), seed);
    double all = 0;
    for (const StepCall& call : of_step) all += call.seconds;
    for (const StepCall& call : of_step) {
      const auto serves = [&](const KernelEntry* kernel) {
        return kernel->op == call.call.op && kernel->pass == call.call.pass &&
               kernel->dtype == call.call.dtype;
      };
      if (call.seconds < kLeastShare * all || std::ranges::none_of(selected, serves)) continue;
      const auto same = std::ranges::find(calls, call.call, &StepCall::call);
      if (same == calls.end())
        calls.push_back(call);
      else
        same->seconds += call.seconds;
    }
  }
  if (calls.empty())
    fail_usage("a training step of {} calls no {}{}{}; give --shape",
               fmt::join(selection.configs, ", "), selection.op, selection.pass.empty() ? "" : ".",
               selection.pass);
  return calls;
}

double parse_duration(const std::string& text) {
  const std::map<char, double> kUnits = {{'s', 1}, {'m', 60}, {'h', 3600}};
  const bool has_unit = !text.empty() && kUnits.contains(text.back());
  const double value =
      parse_number<double>(std::string_view(text).substr(0, text.size() - (has_unit ? 1 : 0)))
          .value_or(0);
  const double seconds = has_unit ? value * kUnits.at(text.back()) : value;
  if (!(seconds > 0) || !std::isfinite(seconds))
    fail_usage("'{}' is no duration; give seconds, or 90s, 5m, 1h", text);
  return seconds;
}

void list(const Common& common, const Selection& selection) {
  nlohmann::json report = nlohmann::json::array();
  for (const KernelEntry* kernel : selected_kernels(selection)) {
    const Space space = space_of(*kernel);
    nlohmann::json axes = nlohmann::json::array();
    std::vector<std::string> texts;
    for (const Axis& axis : space.axes) {
      axes.push_back(
          {{"name", axis.name}, {"values", axis.values}, {"default", axis.values[axis.standard]}});
      texts.push_back(fmt::format("{} {} of {}", axis.name, axis.values[axis.standard],
                                  fmt::join(axis.values, " ")));
    }
    if (common.json)
      report.push_back({{"op", kernel->op},
                        {"pass", kernel->pass},
                        {"dtype", kernel->dtype},
                        {"variant", kernel->variant},
                        {"space", space.size()},
                        {"parameters", axes}});
    else
      print_line("{:<36}{:>6.0f}  {}",
                 fmt::format("{} {}", pass_string({kernel->op, kernel->pass, {}, kernel->dtype}),
                             kernel->variant),
                 space.size(), fmt::join(texts, ", "));
  }
  if (common.json) print_line("{}", report.dump(1));
}

void sweep(const Common& common, const SweepCommand& command) {
  check_may_tune(build_target(), user_schedule_folder());
  SweepOptions options;
  options.budget = parse_duration(command.budget);
  options.grid = command.grid;
  options.seed = common.seed;
  options.workshop = {.folder = Tree::ours().folder() / "work",
                      .workers = available_threads(),
                      .limit = command.compile_limit};
  Console display(common.quiet || common.json);
  Database database(schedule_folder(), Machine::current(), warn_once());
  display.status("running a training step");
  const Selection& selection = command.selection;
  options.calls = selected_calls(selection, common.seed);
  if (selection.shape.empty())
    write_swept_step(Tree::ours().swept_step(),
                     {selection.step(selection.configs.front()), common.threads});
  display.line(fmt::format("{}\ncalls to tune: {}, in {}, for {}\n",
                           describe_machine(num_threads()), options.calls.size(),
                           format_duration(options.budget), database.table_path().string()));
  const std::vector<Swept> swept = tune::sweep(options, database, display);

  report(swept, options.calls, common.json, display);
}

void show(const Common& common, const Selection& selection) {
  const Database database(schedule_folder(), Machine::current(), warn_once());
  std::vector<TableRow> shown = database.table().rows;
  if (!selection.op.empty() || !selection.pass.empty()) {
    selected_kernels(selection);  // throws if there are none
    std::erase_if(shown, [&](const TableRow& row) {
      return (!selection.op.empty() && row.call.op != selection.op) ||
             (!selection.pass.empty() && row.call.pass != selection.pass);
    });
  }
  const Machine& machine = database.machine();
  if (common.json) {
    nlohmann::json rows = nlohmann::json::array();
    for (const TableRow& row : shown) rows.push_back(row_json(row));
    return print_line("{}", rows.dump(1));
  }
  print_line("{}: {} rows; this machine is {}, {}, {} threads",
             visible(database.table_path().string()), database.table().rows.size(), machine.cpu,
             machine.isa, machine.threads);
  print_line("this program's kernels: {}\n", kernel_schedule());
  for (const TableRow& row : shown) {
    const bool here = row.isa == machine.isa && row.cpu == machine.cpu;
    const bool known = built_kernel(row.call, {row.instance.variant, {}});
    const KernelEntry* built = built_kernel(row.call, row.instance);
    const std::string state = !known                                   ? "no such kernel"
                              : built && built->lowered != row.lowered ? "measured with other code"
                              : !here                                  ? "another machine's"
                              : is_built(row)                          ? ""
                                              : "not built yet: tune apply";
    print_line("{:<40}{:>9} {:>2} {:>12}{:>12}{:>8}  {}{}{}", call_string(row.call), row.isa,
               row.threads, bench::time_string(row.default_seconds),
               bench::time_string(row.seconds), bench::ratio_string(row.speed_up()),
               row.instance.string(), state.empty() ? "" : "  ", state);
  }
}

void apply(const Common& common) {
  Console display(common.quiet);
  const int rebuilt = apply_table_and_keep(Tree::ours(), display);
  display.line(fmt::format("{} kernels rebuilt", rebuilt));
}

void verify(const Common& common) {
  Console display(common.quiet);
  Database database(schedule_folder(), Machine::current(), warn_once());
  verify_kernels(Tree::ours(), database, display);
}

void measure(const Common& common, const ModelStep& step, bool alone) {
  if (const std::filesystem::path before = Tree::ours().program_before();
      !alone && std::filesystem::exists(before))
    return print_before_after(before, step, common.threads, common.seed, common.json);
  const Measured measured = tune::measure(step, common.seed);
  if (common.json) return print_line("{}", measured_json(measured).dump(1));
  print_line("train step {} {}x{}: best {}, median {}, {:.0f} tokens/s", visible(step.config),
             step.batch, step.sequence, bench::time_string(measured.step.best),
             bench::time_string(measured.step.median), measured.step_tokens / measured.step.median);
  for (const Measured::OfCall& call : measured.calls)
    print_line("{:<44}{:>12}{:>12}  {} ({})", call_string(call.call),
               bench::time_string(call.seconds.best), bench::time_string(call.seconds.median),
               call.kernel, call.level);
}

}  // namespace mmrec::tune
