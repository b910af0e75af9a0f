#include "train/run/log.h"

#include <fmt/format.h>

#include <array>
#include <string>

#include "support/names.h"

namespace mmrec {
namespace {

constexpr double kRedrawSeconds = 0.1;
constexpr double kPlainSeconds = 10;
constexpr int64_t kPlainLinesPerRun = 20;

}  // namespace

void RunLog::line(std::string_view text, Style style) {
  console_.line(text, style);
  note(text);
}

void RunLog::note(std::string_view text) { file_.append(visible(text) + "\n"); }

void Progress::update(const MetricsRow& row) {
  if (!first_) first_ = row;
  if (shown_ && row.step < steps_) {
    const double waited = row.seconds - shown_->seconds;
    const bool twentieth = (row.step - shown_->step) * kPlainLinesPerRun >= steps_;
    if (log_.has_status() ? waited < kRedrawSeconds : waited < kPlainSeconds && !twentieth) return;
  }
  shown_ = row;

  const int64_t steps_done = row.step - first_->step;
  const double seconds_per_step =
      steps_done > 0 ? (row.seconds - first_->seconds) / static_cast<double>(steps_done)
                     : MetricsRow::kNone;
  const std::string time_left =
      steps_done > 0 ? format_duration(seconds_per_step * static_cast<double>(steps_ - row.step))
                     : "-:--";
  // Most important first: a narrow terminal shows only the first fields.
  const std::string auxiliary =
      std::isnan(row.aux_loss) ? "" : fmt::format(" + {:.4f}", row.aux_loss);
  const std::array<std::string, 7> fields = {fmt::format("step {}/{}", row.step, steps_),
                                             fmt::format("loss {:.4f}{}", row.loss, auxiliary),
                                             fmt::format("{} left", time_left),
                                             fmt::format("epoch {}/{}", row.epoch, epochs_),
                                             fmt::format("{:.0f} tokens/s", row.tokens_per_second),
                                             fmt::format("lr {:.2e}", row.lr),
                                             fmt::format("grad {:.3f}", row.grad_norm)};
  if (!log_.has_status()) return log_.line(fmt::format("{}", fmt::join(fields, "  ")));
  size_t shown = fields.size();
  const auto text = [&] {
    return fmt::format("{}", fmt::join(fields.begin(), fields.begin() + shown, "  "));
  };
  const size_t width = log_.status_width();
  while (shown > 0 && text().size() > width) --shown;
  log_.status(text());
}

}  // namespace mmrec
