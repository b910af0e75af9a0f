#include <fmt/ranges.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "bench/harness/print.h"
#include "bench/harness/table.h"
#include "bench/tune/apply.h"
#include "bench/tune/builds.h"
#include "bench/tune/commands.h"
#include "bench/tune/contest.h"
#include "bench/tune/sweep.h"
#include "bench/workloads/workloads.h"
#include "runtime/threads.h"
#include "support/error.h"

namespace mmrec::tune {

namespace {

/// A way to make a kernel for a call.
struct Way {
  std::string name;
  Recipe recipe;
  const KernelEntry* built;  ///< null if it must be compiled first
};

Way instance_way(const std::string& name, const Call& call, const Instance& instance,
                 uint64_t seed) {
  const KernelEntry* defaults = built_kernel(call, {instance.variant, {}});
  if (!defaults) fail("{}.{} has no variant {}", call.op, call.pass, instance.variant);
  return {fmt::format("{}: {}", name, instance.string()),
          recipe_of(*defaults, instance, {sizes_of(call)}, seed), built_kernel(call, instance)};
}

std::vector<Way> ways(const Call& call, const TableRow* row, uint64_t seed) {
  std::vector<Way> ways{
      instance_way("defaults by hand", call, {default_kernel(call).variant, {}}, seed)};
  if (row) ways.push_back(instance_way("tuned", call, row->instance, seed));
  const std::string plain = fmt::format("plain_{}_{}", call.op, call.pass);
  if (!has_generator(plain)) return ways;
  Recipe recipe{call.op, call.pass, call.dtype,       ways.front().recipe.variant,
                plain,   {},        {sizes_of(call)}, seed};
  recipe.exactly = true;
  for (const auto& [name, size] : call.sizes) recipe.params[name] = std::to_string(size);
  for (const char* autoscheduler : {"", "Mullapudi2016", "Adams2019"}) {
    recipe.autoscheduler = autoscheduler;
    ways.push_back({*autoscheduler ? autoscheduler : "no schedule", recipe, nullptr});
  }
  return ways;
}

}  // namespace

void compare(const Common& common, const Selection& selection) {
  Database database(schedule_folder(), Machine::current(), warn_once());
  Workshop workshop({.folder = Tree::ours().folder() / "work", .workers = available_threads()});
  nlohmann::json report = nlohmann::json::array();
  for (const StepCall& selected : selected_calls(selection, common.seed)) {
    const Call& call = selected.call;
    const std::vector<Way> all = ways(call, database.row(call), common.seed);
    std::vector<Recipe> recipes;
    for (const Way& way : all)
      if (!way.built) recipes.push_back(way.recipe);
    const std::vector<Compiled> made = workshop.make(recipes);
    std::vector<const KernelEntry*> kernels;
    std::vector<std::string> names, failures;
    for (auto [way, compiled] = std::pair(all.begin(), made.begin()); way != all.end(); ++way) {
      const KernelEntry* kernel = way->built;
      if (!kernel) {
        kernel = compiled->candidate ? &compiled->candidate->entry() : nullptr;
        if (!kernel)
          failures.push_back(fmt::format("{}: {}: {}", way->name, status_name(compiled->status),
                                         compiled->message));
        ++compiled;
      }
      if (!kernel) continue;
      kernels.push_back(kernel);
      names.push_back(way->name);
    }
    if (kernels.empty()) fail("{}: {}", call_string(call), fmt::join(failures, "; "));
    const std::vector<RaceResult> runs =
        Contest(call, common.seed).race(kernels, kernels.size(), {.seconds = 10});

    const double flops = bench::workload_of(call.op, call.pass, sizes_of(call), call.dtype).flops;
    if (!common.json)
      bench::print_line("{:<60}{:>12}{:>12}{:>12}{:>10}", call_string(call), "best", "median",
                        "GFLOP/s", "speed-up");
    for (size_t i = 0; i < runs.size(); ++i) {
      const Timing seconds = summary(runs[i].samples);
      const double speed_up = summary(runs[0].samples).median / seconds.median;
      report.push_back({{"op", call.op},
                        {"pass", call.pass},
                        {"dtype", call.dtype},
                        {"sizes", call.sizes},
                        {"kernel", names[i]},
                        {"best", seconds.best},
                        {"median", seconds.median},
                        {"speed_up", speed_up}});
      if (!common.json)
        bench::print_line("  {:<58}{:>12}{:>12}{:>12.1f}{:>10}", names[i],
                          bench::time_string(seconds.best), bench::time_string(seconds.median),
                          flops / seconds.best / 1e9, bench::ratio_string(speed_up));
    }
    if (!common.json)
      for (const std::string& failure : failures) bench::print_line("  {}", failure);
  }
  if (common.json) bench::print_line("{}", report.dump(1));
}

}  // namespace mmrec::tune
