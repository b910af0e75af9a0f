#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace mmrec::tune {

/// A program that is run, and where what it prints goes.
struct Command {
  std::vector<std::string> words;
  std::filesystem::path output;  ///< of its standard output and errors; empty: to this program's
};

/// How a process ended.
struct Ending {
  int code = 0;           ///< exit code, or minus the signal that ended it
  bool too_late = false;  ///< it was ended because it took too long
  std::string describe() const;
};

/// Runs commands, so many at a time, and ends with everything it has started any that takes longer than `limit` seconds. `each` is
/// called when one has ended; `wait` while some run, a hundred times a second.
std::vector<Ending> run_commands(
    const std::vector<Command>& commands, int at_once, double limit, const std::function<void(size_t i)>& each = [](size_t) {},
    const std::function<void()>& wait = [] {});

/// Runs one, however long it takes.
Ending run_command(const Command& command);

}  // namespace mmrec::tune
