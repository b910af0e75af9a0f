#pragma once

#include <cstddef>
#include <cstdio>
#include <string>
#include <string_view>

namespace mmrec {

/// "0:42", "1:05:09"; "-:--" of what is not finite.
std::string format_duration(double seconds);
/// "21.1 %" of 0.211.
std::string percent(double part);
/// "+3.2 %"; "-" where there is no such figure, after 0 for example.
std::string relative_change(double before, double now);

/// A line "warning: .." on standard error.
void print_warning(std::string_view text);
/// Writes all of a text at once. A pipe that does not block (O_NONBLOCK) is waited for; any other failure is noted by the stream, as
/// std::ferror tells.
void print(std::FILE* output, std::string_view text);

enum class Style { kPlain, kHeading, kWarning };

/// A line to be said later.
struct Note {
  std::string text;
  Style style = Style::kPlain;
};

/// What a program says while it works: lines, and on a terminal a status line below them. Of what is in a text, a file's name for
/// example, nothing acts on the terminal: see visible().
class Console {
 public:
  explicit Console(bool quiet, std::FILE* output = stdout);
  ~Console();
  Console(const Console&) = delete;
  Console& operator=(const Console&) = delete;

  /// A line, or several; colours appear only on a terminal and not under NO_COLOR (https://no-color.org). Nothing if quiet.
  void line(std::string_view text, Style style = Style::kPlain);

  /// Whether there is a status line: on a terminal that can redraw one, unless quiet.
  bool has_status() const { return has_status_; }
  /// Draws the status line in place of the one before; the next line() takes it away. What is wider than status_width(), one byte a
  /// column, is cut off.
  void status(std::string_view text);
  void erase_status();
  size_t status_width() const;

 private:
  std::FILE* output_;
  bool quiet_, has_status_, colour_;
  bool status_shown_ = false;
};

}  // namespace mmrec
