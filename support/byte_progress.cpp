#include "support/byte_progress.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

namespace mmrec {
namespace {

constexpr double kRedrawSeconds = 0.1;
constexpr double kPlainSeconds = 10;
constexpr int kBarWidth = 24;  // columns

std::string bar(double part) {
  const int full = static_cast<int>(part * kBarWidth);
  return fmt::format("[{}{}{}]", std::string(full, '='), full < kBarWidth ? ">" : "",
                     std::string(std::max(kBarWidth - full - 1, 0), ' '));
}

}  // namespace

std::string format_bytes(int64_t bytes) {
  constexpr std::array<const char*, 5> kUnits = {"kB", "MB", "GB", "TB", "PB"};
  if (bytes < 1000) return fmt::format("{} bytes", bytes);
  double value = static_cast<double>(bytes) / 1000;
  size_t unit = 0;
  for (; value >= 999.5 && unit + 1 < kUnits.size(); ++unit) value /= 1000;
  return fmt::format("{:.{}f} {}", value, value < 9.995 ? 2 : value < 99.95 ? 1 : 0, kUnits[unit]);
}

ByteProgress::ByteProgress(Console& console, std::string what, int64_t total, int64_t begun)
    : console_(console), what_(std::move(what)), total_(total), begun_(begun) {}

void ByteProgress::update(int64_t done) {
  const Clock::time_point now = Clock::now();
  const auto seconds_since = [&](Clock::time_point then) {
    return std::chrono::duration<double>(now - then).count();
  };
  if (seconds_since(shown_) < (console_.has_status() ? kRedrawSeconds : kPlainSeconds)) return;
  shown_ = now;

  const double rate = static_cast<double>(done - begun_) / seconds_since(start_);  // bytes a second
  std::string text = what_;
  if (total_ > 0) {
    const double part = std::clamp(static_cast<double>(done) / static_cast<double>(total_), 0., 1.);
    if (console_.has_status()) text += fmt::format(" {}", bar(part));
    text +=
        fmt::format(" {:.0f} %  {} of {}", 100 * part, format_bytes(done), format_bytes(total_));
  } else {
    text += fmt::format(" {}", format_bytes(done));
  }
  text += fmt::format("  {}/s", format_bytes(static_cast<int64_t>(rate)));
  if (total_ > 0 && rate > 0)
    text += fmt::format(
        "  {} left",
        format_duration(static_cast<double>(std::max<int64_t>(total_ - done, 0)) / rate));
  if (console_.has_status())
    console_.status(text);
  else
    console_.line(text);
}

}  // namespace mmrec
