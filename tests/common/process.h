#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace mmrec::test {

/// Returns what a file in a process's folder of /proc has; "" if the process has ended, also if it
/// ends while the file is read, which an iterator over the stream would report by an exception.
inline std::string about_process(const std::filesystem::path& folder, const std::string& name) {
  std::ifstream file(folder / name);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

/// A program that runs beside the test. Its standard streams are files in a directory: stdin,
/// stdout, stderr.
class Process {
 public:
  /// words: the program's file and its arguments. environment: NAME=value, overrides the test's
  /// environment.
  Process(std::vector<std::string> words, std::vector<std::string> environment,
          const std::filesystem::path& directory) {
    // the first of equal names counts
    for (char** variable = environ; *variable; ++variable) environment.push_back(*variable);
    const auto pointers = [](std::vector<std::string>& strings) {
      std::vector<char*> pointers;
      for (std::string& string : strings) pointers.push_back(string.data());
      pointers.push_back(nullptr);
      return pointers;
    };
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, (directory / "stdin").c_str(),
                                     O_RDONLY | O_CREAT, 0600);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, (directory / "stdout").c_str(),
                                     O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, (directory / "stderr").c_str(),
                                     O_WRONLY | O_CREAT | O_TRUNC, 0600);
    // Restore default signal handling, as in a shell, however the test was started.
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    sigset_t all;
    sigfillset(&all);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
    const int error = posix_spawn(&id_, words[0].c_str(), &actions, &attributes,
                                  pointers(words).data(), pointers(environment).data());
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    if (error == 0) return;
    id_ = 0;
    ADD_FAILURE() << "cannot start " << words[0] << ": " << std::strerror(error);
  }
  ~Process() {
    if (id_ == 0) return;
    send(SIGKILL);
    wait();
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  pid_t id() const { return id_; }
  void send(int signal) const {
    if (id_ != 0) ::kill(id_, signal);
  }
  /// Waits for the end. Returns the exit code, or minus the signal that ended the process; -1 if it
  /// never ran. After the limit the test fails and the process is killed.
  int wait(std::chrono::milliseconds limit) {
    siginfo_t ended{};
    for (const auto end = std::chrono::steady_clock::now() + limit; id_ != 0;) {
      if (waitid(P_PID, static_cast<id_t>(id_), &ended, WEXITED | WNOHANG | WNOWAIT) != 0 ||
          ended.si_pid != 0)
        break;
      if (std::chrono::steady_clock::now() > end) {
        ADD_FAILURE() << "no end after " << limit.count() << " ms";
        send(SIGKILL);
        break;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return wait();
  }
  int wait() {
    const pid_t id = std::exchange(id_, 0);
    if (id == 0) return -1;
    int status = 0;
    while (waitpid(id, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

 private:
  pid_t id_ = 0;
};

}  // namespace mmrec::test
