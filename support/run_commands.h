#pragma once

#include <cmath>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace mmrec {

/// A program that is run, and where what it prints goes.
struct Command {
  std::vector<std::string> words;
  std::filesystem::path output;  ///< of its standard output and errors; empty: to this program's
  std::filesystem::path errors = {};  ///< of its errors alone; empty: to the output
};

/// How a process ended.
struct Ending {
  int code = 0;           ///< exit code, or minus the signal that ended it
  bool too_late = false;  ///< it was ended because it took too long
  std::string describe() const;
};

/// Runs commands, so many at a time, and ends with everything it has started any that takes longer
/// than `limit` seconds, or that still runs when `all` seconds are over. `wait` is called while
/// some run, a hundred times a second.
std::vector<Ending> run_commands(
    const std::vector<Command>& commands, int at_once, double limit, double all = INFINITY,
    const std::function<void()>& wait = [] {});

Ending run_command(const Command& command, double limit = INFINITY);

}  // namespace mmrec
