#include "train/search/search_plan.h"

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "model/config.h"
#include "model/config_file.h"
#include "support/did_you_mean.h"
#include "support/error.h"
#include "train/run/options.h"
#include "train/run/recipe.h"

namespace mmrec {

namespace {

void check_name(const std::string& name) {
  std::vector<std::string> known = {"config"};
  for (const TrainOption& option : train_option_table())
    if (option.scope == TrainOption::Scope::kRun) known.push_back(option.name);
  const nlohmann::json fields = to_json(Config{});
  for (const auto& [field, value] : fields.items()) known.push_back(field);
  if (std::ranges::find(known, name) == known.end())
    fail_usage(
        "{}: neither an option of train that a search can set nor a field of its configuration{}",
        name, did_you_mean(name, known));
}

bool is_of_muon(std::string_view name) {
  return std::ranges::find(kMuonOptions, name) != std::end(kMuonOptions);
}

/// Returns whether an experiment has Muon, by all its settings.
bool has_muon(const Settings& common, const Settings& settings) {
  TrainOptions options;
  options.recipe = "auto";  // train's default
  for (const Settings& some : {common, settings})
    for (const auto& [name, value] : some) {
      if (name == "data") options.data = value;
      if (name == "recipe") options.recipe = value;
      if (name == "optimizer") options.optimizer.algorithm = value;
      options.given.insert(name);
    }
  return optimizer_of(options) == "muon";
}

/// Leaves Muon's settings out; a run with another optimizer refuses them.
Settings without_muon(Settings settings) {
  std::erase_if(settings, [](const auto& setting) { return is_of_muon(setting.first); });
  return settings;
}

/// Returns what the search space says, with repetitions.
std::vector<Settings> planned(const SearchOptions& options) {
  const SearchSpace& space = options.space;
  space.check();
  if (space.grids.empty() && space.ranges.empty())
    fail_usage("there is nothing to try; give a --grid, or a --range and --random");
  if (options.random == 0) {
    if (!space.ranges.empty())
      fail_usage("--range {}: say with --random how many experiments to draw",
                 space.ranges.front().name);
    return space.combinations();
  }
  std::vector<Settings> all;
  for (int i = 0; i < options.random; ++i) all.push_back(space.draw(options.seed, i));
  return all;
}

}  // namespace

std::vector<Settings> planned_experiments(const SearchOptions& options) {
  std::vector<Settings> all;
  std::set<Settings> different;
  bool some_have_muon = false;
  const std::vector<Settings> plan = planned(options);
  for (Settings settings : plan) {
    const bool muon = has_muon(options.common, settings);
    some_have_muon |= muon;
    if (!muon) settings = without_muon(std::move(settings));
    if (different.insert(settings).second) all.push_back(std::move(settings));
  }
  if (!some_have_muon)
    for (const Settings& given : {options.common, plan.front()})
      for (const auto& [name, value] : given)
        if (is_of_muon(name))
          fail_usage(
              "{} is for --optimizer muon, and no experiment has it; leave it out, or give --grid "
              "optimizer=adamw,muon",
              name);
  if (options.stop_early != 0 && all.size() < 2)
    fail_usage(
        "--stop-early compares experiments, and there is one; give more values or draws, or leave "
        "the option out");
  return all;
}

Settings common_settings(const SearchOptions& options) {
  Settings common = with_absolute_paths(options.common);
  std::set<std::string> tried;
  for (const GridAxis& grid : options.space.grids) tried.insert(grid.name);
  for (const RangeAxis& range : options.space.ranges) tried.insert(range.name);
  for (const std::string& name : tried) check_name(name);
  for (const auto& [name, value] : common) {
    check_name(name);
    if (tried.contains(name)) fail_usage("--{} {}: it is among what the search tries", name, value);
  }
  std::set<std::string> given = tried;
  for (const auto& [name, value] : common) given.insert(name);
  check_one_length(given);
  const auto is_given = [&](const char* name) { return given.contains(name); };
  if (std::ranges::none_of(kLengthOptions, is_given)) common.emplace_back("epochs", "1");
  if (!is_given("seed")) common.emplace_back("seed", fmt::format("{}", options.seed));
  return common;
}

Settings fitting_optimizer(Settings settings) {
  return has_muon({}, settings) ? settings : without_muon(std::move(settings));
}

std::vector<double> search_rungs(int factor) {
  constexpr int kLargest = 10;
  std::vector<double> rungs = {1};
  for (int divisor = factor; divisor > 0 && divisor <= kLargest; divisor *= factor)
    rungs.insert(rungs.begin(), 1. / divisor);
  return rungs;
}

}  // namespace mmrec
