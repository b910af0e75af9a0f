#include "train/run_log.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <cmath>
#include <cstdlib>

namespace mmrec {
namespace {

constexpr double kRedrawSeconds = 0.1;
constexpr double kPlainSeconds = 10;
constexpr int64_t kPlainLinesPerRun = 20;
constexpr size_t kDefaultWidth = 80;

constexpr std::string_view kEraseLine = "\r\x1b[K";
constexpr std::string_view kResetStyle = "\x1b[0m";

std::string_view style_code(Style style) {
  switch (style) {
    case Style::kHeading:
      return "\x1b[1m";
    case Style::kWarning:
      return "\x1b[33m";
    case Style::kPlain:
      break;
  }
  return "";
}

std::string_view environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

void print(std::FILE* output, std::string_view text) { std::fwrite(text.data(), 1, text.size(), output); }

}  // namespace

std::string format_duration(double seconds) {
  const int64_t whole = std::llround(seconds);
  const int64_t hours = whole / 3600, minutes = whole / 60 % 60;
  return hours > 0 ? fmt::format("{}:{:02}:{:02}", hours, minutes, whole % 60) : fmt::format("{}:{:02}", minutes, whole % 60);
}

RunLog::RunLog(const std::filesystem::path& file, bool quiet, std::FILE* output)
    : file_(file),
      output_(output),
      quiet_(quiet),
      has_status_(!quiet && ::isatty(::fileno(output)) && environment("TERM") != "dumb"),
      colour_(has_status_ && environment("NO_COLOR").empty()) {}

RunLog::~RunLog() { erase_status(); }

void RunLog::line(std::string_view text, Style style) {
  erase_status();
  const std::string_view code = colour_ ? style_code(style) : "";
  if (!quiet_) {
    print(output_, fmt::format("{}{}{}\n", code, text, code.empty() ? "" : kResetStyle));
    std::fflush(output_);
  }
  file_.append(fmt::format("{}\n", text));
}

void RunLog::status(std::string_view text) {
  if (!has_status_) return;
  print(output_, fmt::format("{}{}", kEraseLine, text));
  std::fflush(output_);
  status_shown_ = true;
}

size_t RunLog::status_width() const {
  winsize window{};
  const bool known = ::ioctl(::fileno(output_), TIOCGWINSZ, &window) == 0 && window.ws_col > 0;
  return (known ? window.ws_col : kDefaultWidth) - 1;  // a full line would wrap on some terminals
}

void RunLog::erase_status() {
  if (!status_shown_) return;
  print(output_, kEraseLine);
  std::fflush(output_);
  status_shown_ = false;
}

void Progress::update(const MetricsRow& row) {
  if (!first_) first_ = row;
  if (shown_ && row.step < steps_) {
    const double waited = row.seconds - shown_->seconds;
    const bool twentieth = (row.step - shown_->step) * kPlainLinesPerRun >= steps_;
    if (log_.has_status() ? waited < kRedrawSeconds : waited < kPlainSeconds && !twentieth) return;
  }
  shown_ = row;

  const int64_t steps_done = row.step - first_->step;
  const double seconds_per_step = steps_done > 0 ? (row.seconds - first_->seconds) / static_cast<double>(steps_done) : MetricsRow::kNone;
  const std::string time_left = steps_done > 0 ? format_duration(seconds_per_step * static_cast<double>(steps_ - row.step)) : "-:--";
  // The most wanted first: a narrow terminal shows those that fit.
  const std::array<std::string, 7> fields = {fmt::format("step {}/{}", row.step, steps_),
                                             fmt::format("loss {:.4f}", row.loss),
                                             fmt::format("{} left", time_left),
                                             fmt::format("epoch {}/{}", row.epoch, epochs_),
                                             fmt::format("{:.0f} tokens/s", row.tokens_per_second),
                                             fmt::format("lr {:.2e}", row.lr),
                                             fmt::format("grad {:.3f}", row.grad_norm)};
  if (!log_.has_status()) return log_.line(fmt::format("{}", fmt::join(fields, "  ")));
  size_t shown = fields.size();
  const auto text = [&] { return fmt::format("{}", fmt::join(fields.begin(), fields.begin() + shown, "  ")); };
  const size_t width = log_.status_width();
  while (shown > 0 && text().size() > width) --shown;
  log_.status(text());
}

}  // namespace mmrec
