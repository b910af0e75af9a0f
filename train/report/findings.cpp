#include "train/report/findings.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <numbers>

#include "train/report/run_report.h"
#include "train/run/folder.h"
#include "train/run/learning_rate.h"

namespace mmrec {

namespace {

namespace fs = std::filesystem;

/// Returns the mean training loss of the steps (end - count, end], or NaN.
double mean_loss_before(const RunReport& run, int64_t end, int64_t count) {
  double sum = 0;
  int64_t rows = 0;
  for (const MetricsRow& row : run.train)
    if (row.step > end - count && row.step <= end && std::isfinite(row.loss)) {
      sum += row.loss;
      ++rows;
    }
  return rows > 0 ? sum / static_cast<double>(rows) : MetricsRow::kNone;
}

void check_finite(const RunReport& run, std::vector<Finding>& findings) {
  constexpr const char* kAdvice = ". A lower --lr or --clip, or a longer --warmup helps";
  struct Figure {
    const char* name;
    double MetricsRow::* value;
    const char* advice = kAdvice;
  };
  const auto check = [&](const std::vector<MetricsRow>& rows,
                         std::initializer_list<Figure> figures) {
    for (const Figure& figure : figures) {
      int64_t count = 0, first = 0;
      for (const MetricsRow& row : rows)
        if (!std::isfinite(row.*figure.value) && count++ == 0) first = row.step;
      if (count > 0)
        findings.push_back(
            {.kind = "not_finite",
             .text = fmt::format("{} is not finite at step {} ({} of {} rows){}", figure.name,
                                 first, count, rows.size(), figure.advice)});
    }
  };
  check(run.train, {{"the loss", &MetricsRow::loss},
                    {"the learning rate", &MetricsRow::lr, ""},
                    {"the gradients' norm", &MetricsRow::grad_norm}});
  check(run.validation, {{"the validation loss", &MetricsRow::loss}});
}

/// Returns the loss in windows of the training's length, if the validation measured it.
double comparable_loss(const MetricsRow& validation) {
  return std::isnan(validation.loss_in_trained_window) ? validation.loss
                                                       : validation.loss_in_trained_window;
}

/// Warns if the same tokens have a higher loss in longer windows. More context should lower it.
void check_window(const RunReport& run, std::vector<Finding>& findings) {
  constexpr double kWorse = 1.05;  // a smaller difference may be chance
  if (run.validation.empty()) return;
  const MetricsRow& last = run.validation.back();
  // NaN counts as worse
  if (std::isnan(last.loss_in_trained_window) || last.loss <= kWorse * last.loss_in_trained_window)
    return;
  findings.push_back(
      {.kind = "window",
       .text = fmt::format(
           "the state outgrows the training's windows: in validation windows, which are "
           "longer, the loss is {}, and {:.4f} for the same tokens in "
           "windows as long as the training's. Longer training windows (--seq) or a lower "
           "--lr help; 'evaluate --seq' measures with shorter ones",
           std::isfinite(last.loss) ? fmt::format("{:.4f}", last.loss) : "not finite",
           last.loss_in_trained_window)});
}

/// options: the run's, if a checkpoint has them.
void check_overfitting(const RunReport& run, const std::optional<TrainOptions>& options,
                       std::vector<Finding>& findings) {
  constexpr double kRise = 1.01;  // a smaller rise is noise
  constexpr double kGap = 1.5, kSmallGap = 0.3;
  const MetricsRow* lowest = nullptr;
  for (const MetricsRow& row : run.validation)
    if (row.step >= run.phase_start() && std::isfinite(comparable_loss(row)) &&
        (!lowest || comparable_loss(row) < comparable_loss(*lowest)))
      lowest = &row;
  if (!lowest) return;
  const MetricsRow &best = *lowest, &last = run.validation.back();
  const double best_loss = comparable_loss(best), last_loss = comparable_loss(last);
  const int64_t span = std::max<int64_t>(run.steps() / 10, 1);
  const double then = mean_loss_before(run, best.step, span),
               now = mean_loss_before(run, last.step, span);
  // If the loss in the longer windows is at its best here, best_model is of this step: there is no
  // earlier model to go back to.
  const bool is_best = run.best && run.best->step == last.step;
  const bool rose = !is_best && last_loss > kRise * best_loss && now < then;
  const bool is_far_above = last_loss > kGap * now && last_loss > now + kSmallGap;
  if (!rose && !is_far_above) return;
  // Metrics of an earlier version have no loss for windows of equal length.
  if (std::isnan(last.loss_in_trained_window) && options &&
      options->validation_sequence > options->sequence)
    findings.push_back(
        {.kind = "overfitting",
         .text = fmt::format(
             "the validation loss, {:.4f} in windows of {}, does not follow the training loss, "
             "{:.4f} "
             "in windows of {}: overfitting, or a state that "
             "outgrows the training's windows; 'evaluate --seq {}' compares equal ones",
             last_loss, options->validation_sequence, now, options->sequence, options->sequence)});
  else if (rose)
    findings.push_back(
        {.kind = "overfitting",
         .text = fmt::format(
             "overfitting: the validation loss rose from {:.4f} (step {}) to {:.4f} (step "
             "{}) while the training loss fell from {:.4f} to {:.4f}. "
             "best_model is {}; more text, more --dropout or fewer epochs help",
             best_loss, best.step, last_loss, last.step, then, now,
             run.best && run.best->step <= best.step
                 ? "from before the rise"
                 : fmt::format("of step {}", run.best ? run.best->step : 0))});
  else
    findings.push_back(
        {.kind = "overfitting",
         .text = fmt::format(
             "overfitting: the validation loss, {:.4f}, is far above the training loss, "
             "{:.4f}: the model has learnt the training text by heart; "
             "more text, more --dropout or fewer epochs help",
             last_loss, now)});
}

/// Says where the losses of training and validation do not compare. Validation windows of up to
/// twice the training's are no matter: the recipe has those.
void check_equal_windows(const RunReport& run, const TrainOptions& options,
                         std::vector<Finding>& findings) {
  constexpr int kMostTimes = 2;
  if (run.validation.empty() || (options.validation_sequence >= options.sequence &&
                                 options.validation_sequence <= kMostTimes * options.sequence))
    return;
  const double equal = run.validation.back().loss_in_trained_window;
  findings.push_back(
      {.kind = "unequal_windows",
       .serious = false,
       .text = fmt::format(
           "training windows have {} tokens, validation windows up to {}: their losses do not "
           "compare, as more context lowers the loss. {}",
           options.sequence, options.validation_sequence,
           std::isfinite(equal)
               ? fmt::format("In windows of {} the last validation loss is {:.4f}",
                             options.sequence, equal)
               : fmt::format("'evaluate --seq {0}' measures in equal ones, and a new run with "
                             "--val-seq {0}",
                             options.sequence))});
}

void check_warmup(const RunReport& run, const TrainOptions& options,
                  std::vector<Finding>& findings) {
  const bool has_ended = fs::is_directory(run.folder / RunFolder::kFinal);
  const int64_t steps = has_ended           ? run.steps()
                        : options.steps > 0 ? options.steps
                                            : run.planned_steps;
  const LearningRate rate{
      .peak = options.optimizer.learning_rate, .warmup = options.warmup, .steps = steps};
  if (steps > 0 && !rate.warning().empty())
    findings.push_back({.kind = "warm-up", .text = rate.warning()});
  else if (!run.live && !has_ended && run.phases.empty() && run.steps() < options.warmup)
    findings.push_back(
        {.kind = "warm-up",
         .text = fmt::format("the run was stopped at step {}, in its warm-up of {} steps: its "
                             "figures say little of its learning rate. --resume goes on",
                             run.steps(), options.warmup)});
}

/// The finite training losses of a run's current phase, in order.
struct Losses {
  explicit Losses(const RunReport& run) {
    for (const MetricsRow& row : run.train)
      if (row.step >= run.phase_start() && std::isfinite(row.loss)) rows.push_back(&row);
    for (size_t i = 1; i < rows.size(); ++i) noise += std::abs(rows[i]->loss - rows[i - 1]->loss);
    // of a normal distribution; a trend is small from one step to the next
    noise *=
        std::sqrt(std::numbers::pi) / 2 / static_cast<double>(std::max<size_t>(rows.size(), 2) - 1);
  }
  /// Mean of the rows [begin, end), not empty.
  double mean(size_t begin, size_t end) const {
    double sum = 0;
    for (size_t i = begin; i < end; ++i) sum += rows[i]->loss;
    return sum / static_cast<double>(end - begin);
  }

  std::vector<const MetricsRow*> rows;
  double noise = 0;  ///< standard deviation from step to step
};

/// Returns whether the loss rose for good: the mean of the last steps is far above an earlier one,
/// or above the first step, where it rose before there was a mean.
bool check_divergence(const Losses& losses, std::vector<Finding>& findings) {
  constexpr double kRise = 1.15;
  constexpr size_t kBlocks = 20, kShortest = 10;  // steps
  const size_t count = losses.rows.size(), length = std::max(count / kBlocks, kShortest);
  if (count < 4 * length) return false;
  size_t lowest_end = 0;
  double lowest = std::numeric_limits<double>::infinity();
  for (size_t end = length; end <= count; end += length)
    if (const double mean = losses.mean(end - length, end); mean < lowest) {
      lowest = mean;
      lowest_end = end;
    }
  const double last = losses.mean(count - length, count), first = losses.rows.front()->loss;
  if (last > kRise * first &&
      std::all_of(losses.rows.end() - static_cast<std::ptrdiff_t>(length), losses.rows.end(),
                  [&](const MetricsRow* row) { return row->loss > first; })) {
    findings.push_back(
        {.kind = "rate",
         .text = fmt::format("the training loss ended at {:.4f}, above the {:.4f} of the first "
                             "step: the learning rate was too high. A lower --lr, a longer "
                             "--warmup or a lower --clip helps",
                             last, first)});
    return true;
  }
  if (last < kRise * lowest + 4 * losses.noise / std::sqrt(static_cast<double>(length)))
    return false;
  findings.push_back(
      {.kind = "rate",
       .text = fmt::format("the training loss rose from {:.4f} (before step {}) to {:.4f}: the "
                           "learning rate was too high there, {:.2e}. A lower --lr, a longer "
                           "--warmup or a lower --clip helps",
                           lowest, losses.rows[lowest_end - 1]->step, last,
                           losses.rows[lowest_end - 1]->lr)});
  return true;
}

/// Finds steps whose loss is far above that of the steps before.
void check_spikes(const Losses& losses, std::vector<Finding>& findings) {
  constexpr size_t kBefore = 20, kFew = 3;
  constexpr double kJump = 1.25, kNoises = 6;
  std::vector<const MetricsRow*> spikes;
  for (size_t i = kBefore; i < losses.rows.size(); ++i) {
    const double before = losses.mean(i - kBefore, i);
    if (losses.rows[i]->loss <= std::max(kJump * before, before + kNoises * losses.noise)) continue;
    spikes.push_back(losses.rows[i]);
    i += kBefore;  // what follows a spike belongs to it
  }
  if (spikes.size() < kFew) return;
  const MetricsRow& last = *spikes.back();
  findings.push_back(
      {.kind = "rate",
       .text = fmt::format("the training loss jumped {} times by more than a quarter, last at step "
                           "{} to {:.4f}: the learning rate, {:.2e} there, is too high. A lower "
                           "--lr, a longer --warmup, a lower --clip or larger batches "
                           "(--accumulate) help",
                           spikes.size(), last.step, last.loss, last.lr)});
}

/// Finds that the loss did not fall in the last half of the steps.
void check_plateau(const RunReport& run, const Losses& losses, std::vector<Finding>& findings) {
  constexpr size_t kFewest = 200;  // steps
  constexpr double kFall = 0.01, kLearnt = 0.9;
  const size_t count = losses.rows.size(), quarter = count / 4;
  if (count < kFewest) return;
  const double first = losses.mean(0, 10),
               before = losses.mean(count - 2 * quarter, count - quarter),
               now = losses.mean(count - quarter, count);
  // of the difference of two means
  const double error = losses.noise * std::sqrt(2 / static_cast<double>(quarter));
  if (before - now + 2 * error > kFall * before) return;
  const int64_t half = losses.rows[count - 2 * quarter]->step;
  double best_before = std::numeric_limits<double>::infinity(), best_since = best_before;
  for (const MetricsRow& row : run.validation)
    if (row.step >= run.phase_start()) {
      double& best = row.step < half ? best_before : best_since;
      if (row.loss < best) best = row.loss;
    }
  if (std::isfinite(best_before) && best_since < (1 - kFall) * best_before) return;
  findings.push_back(
      {.kind = "plateau",
       .text = fmt::format(
           "plateau: the training loss fell by less than {:.0f} %, or not at all, in the last half "
           "of the steps, "
           "from {:.4f} to {:.4f}. {}",
           100 * kFall, before, now,
           now > kLearnt * first
               ? fmt::format("It began with {:.4f}: the model learns next to nothing. Another --lr "
                             "(it was at most {:.2e}), or a look at the text, helps",
                             first, row_with_largest(run, &MetricsRow::lr)->lr)
               : "More such steps bring little; another --lr, a lower --lr-min, a larger model "
                 "(--config) or more text does")});
}

}  // namespace

std::vector<Finding> find_problems(const RunReport& run,
                                   const std::optional<TrainOptions>& options) {
  std::vector<Finding> findings;
  check_finite(run, findings);
  check_window(run, findings);
  check_overfitting(run, options, findings);
  if (options) check_warmup(run, *options, findings);
  const Losses losses(run);
  if (!check_divergence(losses, findings)) {
    check_spikes(losses, findings);
    check_plateau(run, losses, findings);
  }
  if (options) check_equal_windows(run, *options, findings);
  return findings;
}

std::string text_of(const std::vector<Finding>& findings, std::string_view kind) {
  const auto found = std::ranges::find(findings, kind, &Finding::kind);
  return found == findings.end() ? "" : found->text;
}

}  // namespace mmrec
