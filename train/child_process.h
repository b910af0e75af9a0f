#pragma once

#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace mmrec {

/// A program that runs beside this one, in a process group of its own, so that the terminal's Ctrl-C does not reach it: whoever
/// started it passes signals on. It reads nothing, and what it prints goes to a file. If this process ends without having
/// waited for it, the child is sent SIGTERM.
class ChildProcess {
 public:
  /// words: the program's file and its arguments. Throws an Error where it cannot be started.
  ChildProcess(const std::vector<std::string>& words, const std::filesystem::path& output);
  ~ChildProcess();
  ChildProcess(ChildProcess&& other) noexcept;
  ChildProcess& operator=(ChildProcess&& other) noexcept;

  void send(int signal) const;
  /// The exit code, or minus the signal that ended it; nothing while it runs. Once it has answered, not again.
  std::optional<int> poll();
  /// The same after its end.
  int wait();

 private:
  std::optional<int> reap(int options);
  pid_t id_ = 0;
};

/// The path of another of the project's programs, which are all in one folder.
std::filesystem::path sibling_program(const std::string& name);

}  // namespace mmrec
