#include "support/console.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cmath>
#include <cstdint>
#include <cstdlib>

#include "support/names.h"

namespace mmrec {
namespace {

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

bool continues_a_character(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) == 0x80; }

}  // namespace

std::string format_duration(double seconds) {
  constexpr double kLongest = 1e15;  // 30 million years
  if (!std::isfinite(seconds)) return "-:--";
  if (std::abs(seconds) > kLongest) return fmt::format("{:.3g} s", seconds);
  const int64_t whole = std::llround(seconds);
  const int64_t hours = whole / 3600, minutes = whole / 60 % 60;
  return hours > 0 ? fmt::format("{}:{:02}:{:02}", hours, minutes, whole % 60)
                   : fmt::format("{}:{:02}", minutes, whole % 60);
}

void print(std::FILE* output, std::string_view text) {
  std::fflush(output);
  while (!text.empty()) {
    const ssize_t written = ::write(::fileno(output), text.data(), text.size());
    if (written >= 0) {
      text.remove_prefix(static_cast<size_t>(written));
    } else if (errno == EAGAIN) {
      pollfd room{::fileno(output), POLLOUT, 0};
      ::poll(&room, 1, -1);
    } else if (errno != EINTR) {  // let the stream meet the error too, so that it is recorded
      std::fwrite(text.data(), 1, text.size(), output);
      std::fflush(output);
      return;
    }
  }
}

std::string percent(double part) { return fmt::format("{:.1f} %", 100 * part); }

std::string relative_change(double before, double now) {
  const double change = now / before - 1;
  return std::isfinite(change) ? fmt::format("{:+.1f} %", 100 * change) : "-";
}

void print_warning(std::string_view text) {
  std::fflush(stdout);
  print(stderr, fmt::format("warning: {}\n", visible(text)));
}

Console::Console(bool quiet, std::FILE* output)
    : output_(output),
      quiet_(quiet),
      has_status_(!quiet && ::isatty(::fileno(output)) && environment("TERM") != "dumb"),
      colour_(has_status_ && environment("NO_COLOR").empty()) {}

Console::~Console() { erase_status(); }

void Console::line(std::string_view text, Style style) {
  erase_status();
  if (quiet_) return;
  const std::string_view code = colour_ ? style_code(style) : "";
  print(output_, fmt::format("{}{}{}\n", code, visible(text), code.empty() ? "" : kResetStyle));
}

void Console::status(std::string_view text) {
  if (!has_status_) return;
  const std::string shown = visible_in_line(text);
  size_t width = std::min(status_width(), shown.size());
  while (width < shown.size() && continues_a_character(shown[width])) --width;
  print(output_, fmt::format("{}{}", kEraseLine, std::string_view(shown).substr(0, width)));
  status_shown_ = true;
}

size_t Console::status_width() const {
  winsize window{};
  const bool known = ::ioctl(::fileno(output_), TIOCGWINSZ, &window) == 0 && window.ws_col > 0;
  return (known ? window.ws_col : kDefaultWidth) - 1;  // a full line would wrap on some terminals
}

void Console::redraw(std::string_view lines) {
  winsize window{};
  const bool known = ::ioctl(::fileno(output_), TIOCGWINSZ, &window) == 0 && window.ws_row > 1;
  const int room = has_status_ && known ? window.ws_row - 1 : INT_MAX;
  std::string text = drawn_ > 0 && has_status_ ? fmt::format("\x1b[{}F\x1b[J", drawn_) : "";
  drawn_ = 0;
  for (; !lines.empty() && drawn_ < room; ++drawn_) {
    const size_t end = std::min(lines.find('\n'), lines.size() - 1);
    text += visible(lines.substr(0, end)) + "\n";
    lines.remove_prefix(end + 1);
  }
  if (!quiet_) print(output_, text);
}

void Console::erase_status() {
  if (!status_shown_) return;
  print(output_, kEraseLine);
  status_shown_ = false;
}

}  // namespace mmrec
