#include "train/report/run_report.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <ranges>
#include <set>

#include "support/atomic_file.h"
#include "support/directory_lock.h"
#include "support/error.h"
#include "support/exceptions.h"
#include "support/names.h"
#include "support/parse_number.h"
#include "train/run/checkpoint.h"
#include "train/run/folder.h"
#include "train/run/log.h"
#include "train/run/phases.h"

namespace mmrec {

namespace {

namespace fs = std::filesystem;

double median(std::vector<double> values) {
  std::erase_if(values, [](double value) { return !std::isfinite(value); });
  if (values.empty()) return MetricsRow::kNone;
  const auto middle = values.begin() + std::ssize(values) / 2;
  std::ranges::nth_element(values, middle);
  return *middle;
}

std::vector<EpochSummary> summarise_epochs(const RunReport& run) {
  std::vector<EpochSummary> epochs;
  double began = 0;
  for (auto row = run.train.begin(); row != run.train.end();) {
    const auto end = std::find_if(
        row, run.train.end(), [&](const MetricsRow& other) { return other.epoch != row->epoch; });
    EpochSummary epoch{.epoch = row->epoch,
                       .first_step = row->step,
                       .last_step = (end - 1)->step,
                       .seconds = (end - 1)->seconds - began};
    began = (end - 1)->seconds;
    std::vector<double> losses;
    double accuracy = 0;
    for (; row != end; ++row)
      if (std::isfinite(row->loss)) {
        losses.push_back(row->loss);
        accuracy += row->accuracy;
      }
    const auto count = static_cast<double>(losses.size());
    epoch.accuracy = accuracy / count;
    if (losses.empty()) {
      epoch.start = epoch.end = epoch.mean = epoch.minimum = epoch.maximum = MetricsRow::kNone;
    } else {
      epoch.start = losses.front();
      epoch.end = losses.back();
      for (const double loss : losses) epoch.mean += loss / count;
      std::tie(epoch.minimum, epoch.maximum) =
          std::pair(std::ranges::min(losses), std::ranges::max(losses));
    }
    for (const MetricsRow& validation : run.validation)
      if (validation.epoch == epoch.epoch) epoch.validation = validation;
    epochs.push_back(epoch);
  }
  return epochs;
}

/// Returns the validation with the lowest loss after a step.
std::optional<MetricsRow> best_validation(const RunReport& run, int64_t after, int64_t last) {
  std::optional<MetricsRow> best;
  for (const MetricsRow& row : run.validation)
    if (row.step > after && row.step <= last && std::isfinite(row.loss) &&
        (!best || row.loss < best->loss))
      best = row;
  return best;
}

std::vector<PhaseSummary> summarise_phases(const RunReport& run, const TrainOptions& options) {
  std::vector<PhaseSummary> phases;
  if (options.grow.empty()) return phases;
  for (const Phase& phase : parse_phases(options.grow))
    if (phase.begin < run.steps())
      phases.push_back({phase.size, phase.begin + 1, std::min(phase.end, run.steps()),
                        best_validation(run, phase.begin, phase.end)});
  return phases;
}

/// Returns a run's options from its newest checkpoint; nullopt before the first checkpoint.
std::optional<TrainOptions> options_of(const fs::path& run) {
  for (const fs::path& name : {latest_checkpoint(run), fs::path(RunFolder::kBest)})
    if (!name.empty())
      if (std::optional<TrainOptions> options = checkpoint_options(run / name)) return options;
  return std::nullopt;
}

/// Returns the number of steps that a log announces last, or 0.
int64_t planned_steps(const std::string& log) {
  const size_t found = log.rfind(kStepsInAll);
  if (found == log.npos) return 0;
  const size_t begin = found + std::string_view(kStepsInAll).size();
  const size_t end = log.find_first_not_of("0123456789", begin);
  return parse_number<int64_t>(std::string_view(log).substr(begin, end - begin)).value_or(0);
}

/// Returns a log's last sample.
std::string last_sample(const std::string& text) {
  const size_t heading = text.rfind(kSampleHeading), begin = text.find('\n', heading);
  if (heading == text.npos || begin == text.npos) return "";
  // missing if the run was killed while writing
  const size_t end = text.find(fmt::format("\n{}\n", kSampleEnd), begin);
  return end <= begin ? "" : text.substr(begin + 1, end == text.npos ? end : end - begin - 1);
}

}  // namespace

double RunReport::seconds() const {
  return std::max(train.back().seconds, validation.empty() ? 0. : validation.back().seconds);
}

double RunReport::seconds_left() const {
  constexpr int64_t kPace = 50;  // steps
  const auto& first = train[std::max<int64_t>(std::ssize(train) - 1 - kPace, 0)];
  if (planned_steps == 0 || first.step == steps()) return MetricsRow::kNone;
  return (train.back().seconds - first.seconds) / static_cast<double>(steps() - first.step) *
         static_cast<double>(std::max<int64_t>(planned_steps - steps(), 0));
}

RunReport read_run(const fs::path& path) {
  const fs::path file = fs::is_directory(path) ? path / RunFolder::kMetrics : path;
  if (!fs::exists(file)) {
    if (fs::exists(path))
      fail("{}: there is no metrics.jsonl in it; give a run's folder (the --out of train)",
           path.string());
    fail("{}: there is no such folder; give a run's (the --out of train)", path.string());
  }
  RunReport run{.folder = fs::absolute(file).lexically_normal().parent_path()};
  run.name = run.folder.filename().string();
  for (MetricsRow& row : read_metrics(file))
    (row.split == "val" ? run.validation : run.train).push_back(std::move(row));
  if (run.train.empty()) fail("{}: there is no training step in it yet", file.string());
  for (std::vector<MetricsRow>* rows : {&run.train, &run.validation})
    std::ranges::stable_sort(*rows, {}, &MetricsRow::step);
  run.epochs = summarise_epochs(run);
  std::vector<double> speeds;
  for (const MetricsRow& row : run.train) speeds.push_back(row.tokens_per_second);
  run.median_speed = median(std::move(speeds));
  const std::optional<TrainOptions> options = options_of(run.folder);
  if (options) {
    run.phases = summarise_phases(run, *options);
    run.precision = options->precision;
  }
  run.best = run.phases.empty() ? best_validation(run, 0, std::numeric_limits<int64_t>::max())
                                : run.phases.back().best;
  if (const fs::path file = run.folder / RunFolder::kLog; fs::exists(file)) {
    const std::string log = read_file(file);
    run.planned_steps = planned_steps(log);
    run.sample = last_sample(log);
  }
  run.live = is_locked(run.folder);
  run.findings = find_problems(run, options);
  return run;
}

std::vector<RunReport> read_runs(const std::vector<std::string>& paths,
                                 const std::function<void(const std::string& problem)>& warn,
                                 bool may_be_none) {
  std::vector<RunReport> runs;
  std::set<fs::path> folders;
  for (const std::string& path : paths) {
    try {
      RunReport run = read_run(path);
      if (folders.insert(run.folder).second) runs.push_back(std::move(run));
    } catch (const std::exception& error) {
      if (paths.size() == 1 && !may_be_none) throw;
      warn(in_words(error));
    }
  }
  if (runs.empty() && !may_be_none) fail("none of the {} runs can be shown", paths.size());
  for (RunReport& run : runs)
    if (std::ranges::count(runs, run.folder.filename(),
                           [](const RunReport& other) { return other.folder.filename(); }) > 1)
      run.name = (run.folder.parent_path().filename() / run.folder.filename()).string();
  return runs;
}

std::vector<MetricsRow> learning_rate_trace(const RunReport& run, int at_most) {
  const size_t peak =
      std::ranges::max_element(
          run.train, {}, [](const MetricsRow& row) { return std::isfinite(row.lr) ? row.lr : 0; }) -
      run.train.begin();
  std::set<size_t> places = {0, peak, run.train.size() - 1};
  for (int i = 1; i < at_most - 2; ++i)
    places.insert(peak + (run.train.size() - 1 - peak) * i / (at_most - 2));
  std::vector<MetricsRow> rows;
  for (const size_t place : places) rows.push_back(run.train[place]);
  return rows;
}

const MetricsRow* row_with_largest(const RunReport& run, double MetricsRow::*figure) {
  const MetricsRow* largest = nullptr;
  for (const MetricsRow& row : run.train)
    if (std::isfinite(row.*figure) && (!largest || row.*figure > largest->*figure)) largest = &row;
  return largest;
}

std::vector<size_t> best_first(const std::vector<RunReport>& runs) {
  const bool has_bits = std::ranges::all_of(runs, [](const RunReport& run) {
    return !run.best || std::isfinite(run.best->bits_per_byte);
  });
  const auto figure = has_bits ? &MetricsRow::bits_per_byte : &MetricsRow::loss;
  std::vector<size_t> order(runs.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, {}, [&](size_t i) {
    return runs[i].best ? *runs[i].best.*figure : std::numeric_limits<double>::infinity();
  });
  return order;
}

std::string bits_per_byte(const std::optional<MetricsRow>& validation, const char* none) {
  return validation && std::isfinite(validation->bits_per_byte)
             ? fmt::format("{:.4f}", validation->bits_per_byte)
             : none;
}

std::string common_axis(const std::vector<RunReport>& runs) {
  const auto tokens_a_step = [](const RunReport& run) {
    return run.tokens() / std::max<int64_t>(run.steps(), 1);
  };
  for (const RunReport& run : runs)
    if (tokens_a_step(run) != tokens_a_step(runs.front())) return "tokens";
  return "step";
}

nlohmann::ordered_json to_json(const std::vector<RunReport>& runs) {
  using json = nlohmann::ordered_json;
  const auto validation = [](const std::optional<MetricsRow>& row) {
    return row ? json{{"step", row->step},
                      {"loss", row->loss},
                      {"perplexity", row->perplexity()},
                      {"bits_per_byte", row->bits_per_byte},
                      {"accuracy", row->accuracy}}
               : json();
  };
  json all = json::array();
  for (const RunReport& run : runs) {
    json epochs = json::array(), phases = json::array(), rates = json::array(),
         findings = json::array();
    for (const Finding& finding : run.findings)
      findings.push_back(
          {{"kind", finding.kind}, {"serious", finding.serious}, {"text", finding.text}});
    for (const EpochSummary& epoch : run.epochs)
      epochs.push_back({{"epoch", epoch.epoch},
                        {"first_step", epoch.first_step},
                        {"last_step", epoch.last_step},
                        {"start", epoch.start},
                        {"end", epoch.end},
                        {"mean", epoch.mean},
                        {"min", epoch.minimum},
                        {"max", epoch.maximum},
                        {"accuracy", epoch.accuracy},
                        {"seconds", epoch.seconds},
                        {"validation", validation(epoch.validation)}});
    for (const MetricsRow& row : learning_rate_trace(run, 8))
      rates.push_back({{"step", row.step}, {"lr", row.lr}});
    for (const PhaseSummary& phase : run.phases)
      phases.push_back({{"size", phase.size},
                        {"first_step", phase.first_step},
                        {"last_step", phase.last_step},
                        {"best_validation", validation(phase.best)}});
    const auto at = [](const MetricsRow* row, double MetricsRow::*value) {
      return row ? json{{"step", row->step}, {"value", row->*value}} : json();
    };
    const auto peak = [&](double MetricsRow::*value) {
      return at(row_with_largest(run, value), value);
    };
    all.push_back(
        {{"name", text_of_name(run.name)},
         {"folder", text_of_name(run.folder.string())},
         {"steps", run.steps()},
         {"tokens", run.tokens()},
         {"seconds", run.seconds()},
         {"tokens_per_second", run.median_speed},
         {"precision", run.precision.empty() ? json() : json(run.precision)},
         {"epochs", epochs},
         {"phases", phases},
         {"best_validation", validation(run.best)},
         {"last_validation", run.validation.empty() ? json() : validation(run.validation.back())},
         {"learning_rate", rates},
         {"aux_loss", at(&run.train.back(), &MetricsRow::aux_loss)},
         {"max_factor", peak(&MetricsRow::max_factor)},
         {"max_state", peak(&MetricsRow::max_state)},
         {"findings", findings}});
  }
  return all;
}

}  // namespace mmrec
