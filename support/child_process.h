#pragma once

#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace mmrec {

/// A program that runs beside this one, in a process group of its own, so that the terminal's Ctrl-C and Ctrl-Z do not reach it: whoever
/// started it passes signals on. It reads nothing. If this process ends without having waited for it, however that happens, the
/// child is sent SIGTERM.
class ChildProcess {
 public:
  /// words: the program, looked for in PATH where it has no slash, and its arguments. What it prints goes to the file `output`, or
  /// where that is empty to where this program's goes, and its errors to the file `errors`, or where that is empty to the same. Throws an Error where
  /// it cannot be started.
  explicit ChildProcess(const std::vector<std::string>& words, const std::filesystem::path& output = {}, const std::filesystem::path& errors = {});
  /// Ends it, with all that it has started, if it still runs.
  ~ChildProcess();
  ChildProcess(ChildProcess&& other) noexcept;
  ChildProcess& operator=(ChildProcess&& other) noexcept;

  /// To the child and all that it has started.
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
