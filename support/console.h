#pragma once

#include <cstddef>
#include <cstdio>
#include <string>
#include <string_view>

namespace mmrec {

/// Formats "0:42", "1:05:09"; "-:--" for a non-finite value.
std::string format_duration(double seconds);
/// Formats 0.211 as "21.1 %".
std::string percent(double part);
/// Formats "+3.2 %"; "-" if the change is undefined, for example from 0.
std::string relative_change(double before, double now);

/// Prints "warning: .." to standard error.
void print_warning(std::string_view text);
/// Writes a text at once. Waits for a non-blocking pipe (O_NONBLOCK). Any other failure is recorded
/// in the stream; see std::ferror.
void print(std::FILE* output, std::string_view text);

enum class Style { kPlain, kHeading, kWarning };

/// A line to print later.
struct Note {
  std::string text;
  Style style = Style::kPlain;
};

/// Progress output of a program: lines, and on a terminal a status line below them. Control
/// characters in a text, for example in a file's name, have no effect on the terminal; see
/// visible().
class Console {
 public:
  explicit Console(bool quiet, std::FILE* output = stdout);
  ~Console();
  Console(const Console&) = delete;
  Console& operator=(const Console&) = delete;

  /// Prints one or more lines, nothing if quiet. Colours appear only on a terminal, and not under
  /// NO_COLOR (https://no-color.org).
  void line(std::string_view text, Style style = Style::kPlain);

  /// Returns whether there is a status line: on a terminal that can redraw one, unless quiet.
  bool has_status() const { return has_status_; }
  /// Replaces the status line. The next line() erases it. Cuts off text beyond status_width(),
  /// counting one column per byte.
  void status(std::string_view text);
  void erase_status();
  size_t status_width() const;
  /// Replaces the lines of the last call, for a table that changes. Lines below the terminal's
  /// height are left out. Without a status line: prints the lines.
  void redraw(std::string_view lines);

 private:
  std::FILE* output_;
  bool quiet_, has_status_, colour_;
  bool status_shown_ = false;
  int drawn_ = 0;  // lines of the last redraw()
};

}  // namespace mmrec
