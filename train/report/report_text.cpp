#include "train/report/report_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <utility>

#include "support/console.h"
#include "support/counted.h"
#include "support/plot_axis.h"
#include "support/text_table.h"

namespace mmrec {

namespace {

/// Wraps words to lines of at most `width`. The first line begins with `head`, the others are
/// indented.
std::string wrapped(std::string_view head, std::string_view text, size_t width) {
  std::string lines, line(head);
  const std::string indent(head.size(), ' ');
  bool first = true;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(' ', begin), text.size());
    const std::string_view word = text.substr(begin, end - begin);
    if (!first && line.size() + 1 + word.size() > width) {
      lines += line + "\n";
      line = indent;
      first = true;
    }
    line += first ? "" : " ";
    line += word;
    first = false;
    begin = end + 1;
  }
  return lines + line + "\n";
}

std::string comparison(const std::vector<RunReport>& runs, size_t width) {
  std::vector<std::vector<std::string>> rows = {{"run", "bits/byte", "validation", "perplexity",
                                                 "at step", "train loss", "steps", "tokens", "time",
                                                 "tokens/s", "precision"}};
  for (const size_t i : best_first(runs)) {
    const RunReport& run = runs[i];
    rows.push_back({run.name, bits_per_byte(run.best, "-"),
                    run.best ? fmt::format("{:.4f}", run.best->loss) : "-",
                    run.best ? fmt::format("{:.3f}", run.best->perplexity()) : "-",
                    run.best ? fmt::format("{}", run.best->step) : "-",
                    fmt::format("{:.4f}", run.epochs.back().mean), fmt::format("{}", run.steps()),
                    axis_label(static_cast<double>(run.tokens())), format_duration(run.seconds()),
                    fmt::format("{:.0f}", run.median_speed),
                    run.precision.empty() ? "-" : run.precision});
  }
  return text_table(std::move(rows), width);
}

std::string epochs(const RunReport& run, size_t width) {
  std::vector<std::vector<std::string>> rows = {{"epoch", "steps", "start", "end", "mean", "min",
                                                 "max", "validation", "change", "perplexity",
                                                 "bits/byte", "accuracy", "time"}};
  const EpochSummary* before = nullptr;
  for (const EpochSummary& epoch : run.epochs) {
    const auto loss = [](double value) { return fmt::format("{:.4f}", value); };
    rows.push_back({fmt::format("{}", epoch.epoch),
                    fmt::format("{}-{}", epoch.first_step, epoch.last_step), loss(epoch.start),
                    loss(epoch.end), loss(epoch.mean), loss(epoch.minimum), loss(epoch.maximum),
                    epoch.validation ? loss(epoch.validation->loss) : "-",
                    before ? relative_change(before->mean, epoch.mean) : "",
                    epoch.validation ? fmt::format("{:.3f}", epoch.validation->perplexity()) : "-",
                    bits_per_byte(epoch.validation, "-"), percent(epoch.accuracy),
                    format_duration(epoch.seconds)});
    before = &epoch;
  }
  return text_table(std::move(rows), width);
}

std::string describe(const RunReport& run, size_t width) {
  std::string text;
  const auto add = [&](const char* head, const std::string& about) {
    text += wrapped(fmt::format("{:<15}", head), about, width);
  };
  add("run", run.folder.string());
  add("steps", fmt::format("{} in {}: {} tokens in {}, {:.0f} tokens/s (median)", run.steps(),
                           counted(run.epochs.size(), "epoch"), run.tokens(),
                           format_duration(run.seconds()), run.median_speed));
  if (!run.precision.empty()) add("precision", run.precision);
  for (const PhaseSummary& phase : run.phases)
    add(&phase == &run.phases.front() ? "phases" : "",
        fmt::format("{}: steps {} to {}{}", phase.size, phase.first_step, phase.last_step,
                    phase.best ? fmt::format(", validation best {:.4f} after step {}",
                                             phase.best->loss, phase.best->step)
                               : ""));
  if (run.best) {
    const std::string bits = bits_per_byte(run.best, "");
    add("validation",
        fmt::format("best {:.4f} after step {}: perplexity {:.3f}, {}{}accuracy {}", run.best->loss,
                    run.best->step, run.best->perplexity(), bits,
                    bits.empty() ? "" : " bits a byte, ", percent(run.best->accuracy)));
  }
  std::string rates;
  for (const MetricsRow& row : learning_rate_trace(run, 8))
    rates += fmt::format("{}step {}: {:.2e}", rates.empty() ? "" : ", ", row.step, row.lr);
  add("learning rate", rates);
  if (const MetricsRow* steepest = row_with_largest(run, &MetricsRow::grad_norm))
    add("gradient norm", fmt::format("largest {:.3f} (step {}), last {:.3f}", steepest->grad_norm,
                                     steepest->step, run.train.back().grad_norm));
  if (const MetricsRow& last = run.train.back(); std::isfinite(last.aux_loss))
    add("auxiliary loss", fmt::format("first {:.4f}, last {:.4f}, beside the training loss",
                                      run.train.front().aux_loss, last.aux_loss));
  if (const MetricsRow *factor = row_with_largest(run, &MetricsRow::max_factor),
      *state = row_with_largest(run, &MetricsRow::max_state);
      factor && state)
    add("state",
        fmt::format("largest factor of a step {:.4f} (step {}), largest |h| {:.4g} (step {})",
                    factor->max_factor, factor->step, state->max_state, state->step));
  if (std::ranges::none_of(run.findings, &Finding::serious)) add("checks", kNoProblem);
  for (const Finding& finding : run.findings)
    add(finding.serious ? "WARNING" : "note", finding.text);
  return text + "\n" + epochs(run, width);
}

/// Returns the mean of a curve's points in each column, NaN where there is none.
std::vector<double> column_means(const TextCurve& curve, const PlotAxis& axis, size_t columns) {
  std::vector<double> means(columns, std::numeric_limits<double>::quiet_NaN());
  std::vector<double> counts(columns);
  for (const auto& [place, value] : curve.points) {
    const auto column = static_cast<size_t>(std::lround(axis.place(place)));
    if (++counts[column] == 1) means[column] = 0;
    means[column] += (value - means[column]) / counts[column];
  }
  return means;
}

/// Returns the line of a horizontal axis, with marks, and the line of their numbers and the axis'
/// name.
std::pair<std::string, std::string> axis_lines(const PlotAxis& axis, size_t columns,
                                               const std::string& x) {
  std::string rule(columns, '-'), names(columns, ' ');
  // where the next number may begin; the gap between the last two numbers
  size_t free = 0, before_end = 0, last_begin = 0;
  for (const double tick : axis.ticks(static_cast<int>(columns / 10))) {
    const auto column = static_cast<size_t>(std::lround(axis.place(tick)));
    const std::string name = axis_label(tick);
    const size_t begin =
        std::min(column - std::min(column, name.size() / 2), columns - name.size());
    rule[column] = '+';
    if (begin < free) continue;
    names.replace(begin, name.size(), name);
    before_end = free > 0 ? free - 1 : 0;
    last_begin = begin;
    free = begin + name.size() + 1;
  }
  // Put the axis' name between the last two numbers.
  if (const size_t gap = last_begin - before_end; gap >= x.size() + 2)
    names.replace(before_end + (gap - x.size()) / 2, x.size(), x);
  names.erase(names.find_last_not_of(' ') + 1);
  return {rule, names};
}

}  // namespace

std::string text_plot(const std::vector<TextCurve>& curves, const std::string& x, size_t width,
                      size_t height) {
  double left = std::numeric_limits<double>::infinity(), right = -left, low = left, high = -left;
  for (const TextCurve& curve : curves)
    for (const auto& [place, value] : curve.points) {
      left = std::min(left, place);
      right = std::max(right, place);
    }
  if (left > right) return "";
  constexpr size_t kLabel = 8;  // characters left of the plot
  const size_t columns = std::max(width, kLabel + 12) - kLabel - 1;
  const PlotAxis horizontal(left, right, static_cast<double>(columns - 1),
                            PlotAxis::Scale::kLinear);
  std::vector<std::vector<double>> means;
  for (const TextCurve& curve : curves)
    for (const double mean : means.emplace_back(column_means(curve, horizontal, columns))) {
      if (std::isnan(mean)) continue;
      low = std::min(low, mean);
      high = std::max(high, mean);
    }
  const PlotAxis vertical(low, high, static_cast<double>(height - 1), scale_for(low, high));
  const auto row_of = [&](double value) {
    return height - 1 - static_cast<size_t>(std::lround(vertical.place(value)));
  };
  std::vector<std::string> lines(height, std::string(columns, ' '));
  for (size_t i = 0; i < curves.size(); ++i)
    for (size_t column = 0; column < columns; ++column)
      if (!std::isnan(means[i][column])) lines[row_of(means[i][column])][column] = curves[i].mark;

  std::map<size_t, std::string> labels;
  for (const double tick : vertical.ticks(static_cast<int>(height / 2)))
    labels[row_of(tick)] = axis_label(tick);
  std::string text;
  for (size_t row = 0; row < height; ++row) {
    std::string line = fmt::format("{:>{}} {}{}", labels.contains(row) ? labels[row] : "",
                                   kLabel - 2, labels.contains(row) ? '+' : '|', lines[row]);
    text += line.erase(line.find_last_not_of(' ') + 1) + "\n";
  }
  const auto [rule, names] = axis_lines(horizontal, columns, x);
  return text + fmt::format("{:>{}}+{}\n{:>{}}{}\n", "", kLabel - 1, rule, "", kLabel, names);
}

std::string watch_text(const std::vector<RunReport>& runs, const std::vector<std::string>& starting,
                       size_t width) {
  constexpr ptrdiff_t kSmoothed = 20;  // steps
  std::vector<std::vector<std::string>> rows = {
      {"run", "step", "bits/byte", "loss", "validation", "left", "tokens/s", "best"}};
  for (const RunReport& run : runs) {
    double loss = 0;
    const auto count = std::min(kSmoothed, std::ssize(run.train));
    for (auto row = run.train.end() - count; row != run.train.end(); ++row)
      loss += row->loss / static_cast<double>(count);
    rows.push_back(
        {run.name,
         run.planned_steps > 0 ? fmt::format("{}/{}", run.steps(), run.planned_steps)
                               : fmt::format("{}", run.steps()),
         bits_per_byte(run.best, "-"), fmt::format("{:.4f}", loss),
         run.validation.empty() ? "-" : fmt::format("{:.4f}", run.validation.back().loss),
         run.live ? format_duration(run.seconds_left()) : "ended",
         fmt::format("{:.0f}", run.train.back().tokens_per_second),
         run.best ? fmt::format("{:.4f} at {}", run.best->loss, run.best->step) : "-"});
  }
  for (const std::string& name : starting)
    rows.push_back({name, "0", "-", "-", "-", "starting", "-", "-"});
  return text_table(std::move(rows), width);
}

std::string report_text(const std::vector<RunReport>& runs, size_t width) {
  std::string text;
  if (runs.size() > 1) text += "the best validation first:\n" + comparison(runs, width) + "\n";
  for (const RunReport& run : runs) text += describe(run, width) + "\n";

  const std::string x = common_axis(runs);
  std::vector<TextCurve> training, validation;
  std::string legend;
  for (size_t i = 0; i < runs.size(); ++i) {
    const auto points = [&](const std::vector<MetricsRow>& rows) {
      std::vector<std::pair<double, double>> points;
      for (const MetricsRow& row : rows)
        if (std::isfinite(row.loss))
          points.emplace_back(static_cast<double>(x == "step" ? row.step : row.tokens), row.loss);
      return points;
    };
    const bool one = runs.size() == 1;
    const char mark = static_cast<char>('a' + i % 26);
    training.push_back({one ? '.' : mark, points(runs[i].train)});
    validation.push_back({one ? 'V' : static_cast<char>('A' + i % 26), points(runs[i].validation)});
    if (!one) legend += fmt::format("  {} {}\n", mark, runs[i].name);
  }
  std::vector<TextCurve> curves = training;
  curves.insert(curves.end(), validation.begin(), validation.end());
  const std::string plot = text_plot(curves, x, width, 20);
  if (plot.empty()) return text;
  text += runs.size() == 1 ? "loss: . training, V validation\n"
                           : "training loss; in capitals: validation\n" + legend;
  return text + plot;
}

}  // namespace mmrec
