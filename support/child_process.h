#pragma once

#include <sys/types.h>

#include <csignal>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace mmrec {

/// What else a program gets from its parent.
struct Inheritance {
  /// of the form NAME=value; nullopt: the parent's
  std::optional<std::vector<std::string>> environment = std::nullopt;
  int last_signal = SIGTERM;  ///< if the parent ends without having waited for the child
};

/// A process that runs beside this one, in its own process group. The terminal's Ctrl-C and Ctrl-Z
/// do not reach it; the parent must pass signals on.
class ChildProcess {
 public:
  /// A program, without standard input. If this process ends without having waited for it, for
  /// whatever reason, it gets the last signal. words: the program (searched in PATH if it has no slash) and
  /// its arguments. Standard output goes to the file `output`; if that is empty, it is inherited.
  /// Standard error goes to the file `errors`; if that is empty, to the same place as standard
  /// output. Throws an Error if the program cannot be started.
  explicit ChildProcess(const std::vector<std::string>& words,
                        const std::filesystem::path& output = {},
                        const std::filesystem::path& errors = {},
                        const Inheritance& inheritance = {});
  /// A copy of this process, with the calling thread alone, that ends with the code which `body`
  /// returns. If this process ends, the child is killed. Throws an Error if the system allows none.
  explicit ChildProcess(const std::function<int()>& body);
  /// Kills the child and its process group if it is still running.
  ~ChildProcess();
  ChildProcess(ChildProcess&& other) noexcept;
  ChildProcess& operator=(ChildProcess&& other) noexcept;

  /// Sends a signal to the child and its process group.
  void send(int signal) const;
  /// Returns the exit code, or minus the signal that ended the child; nullopt while it runs. Do not
  /// call again after it has returned a value.
  std::optional<int> poll();
  /// Waits for the end; returns the same value.
  int wait();

 private:
  std::optional<int> reap(int options);
  pid_t id_ = 0;
};

/// What the names of installed programs begin with: mmrec-train.
constexpr const char* kInstalledPrefix = "mmrec-";
/// Returns the path of another program of the project, by the path of one: all are in one folder,
/// and all installed, or none.
std::filesystem::path beside_program(const std::filesystem::path& program, const std::string& name);
/// The same beside this program. Throws an Error if it is not there.
std::filesystem::path sibling_program(const std::string& name);

}  // namespace mmrec
