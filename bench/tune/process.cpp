#include "bench/tune/process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstring>
#include <thread>

#include "runtime/error.h"

namespace mmrec::tune {

namespace {

using Clock = std::chrono::steady_clock;

/// In a process group of its own, so that all that it starts can be ended.
pid_t start(const Command& command) {
  std::vector<std::string> words = command.words;
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  if (!command.output.empty()) {
    posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, command.output.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666);
    posix_spawn_file_actions_adddup2(&files, STDOUT_FILENO, STDERR_FILENO);
  }
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  pid_t process = 0;
  const int error = ::posix_spawnp(&process, argv.front(), &files, &attributes, argv.data(), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  if (error != 0) fail("cannot run {}: {}", command.words.front(), std::strerror(error));
  return process;
}

struct Running {
  size_t index;
  pid_t process;
  Clock::time_point end;
};

/// Whether it has ended; `block`: waits for that.
bool ended(const Running& running, Ending& ending, bool block) {
  int status = 0;
  pid_t got;
  do got = ::waitpid(running.process, &status, block ? 0 : WNOHANG);
  while (got < 0 && errno == EINTR);
  if (got == 0) return false;
  ending.code = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  return true;
}

}  // namespace

std::string Ending::describe() const {
  if (too_late) return "took too long";
  return code < 0 ? fmt::format("ended by signal {} ({})", -code, ::strsignal(-code)) : fmt::format("exit code {}", code);
}

std::vector<Ending> run_commands(const std::vector<Command>& commands, int at_once, double limit, const std::function<void(size_t i)>& each,
                                 const std::function<void()>& wait) {
  std::vector<Ending> endings(commands.size());
  std::vector<Running> running;
  for (size_t next = 0; next < commands.size() || !running.empty();) {
    while (next < commands.size() && std::ssize(running) < at_once) {
      const auto time = std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(std::min(limit, 1e8)));
      running.push_back({next, start(commands[next]), Clock::now() + time});
      ++next;
    }
    std::erase_if(running, [&](const Running& one) {
      Ending& ending = endings[one.index];
      if (!ended(one, ending, false)) {
        if (Clock::now() < one.end) return false;
        ::kill(-one.process, SIGKILL);
        ended(one, ending, true);
        ending.too_late = true;
      }
      each(one.index);
      return true;
    });
    if (running.empty()) continue;
    wait();
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return endings;
}

Ending run_command(const Command& command) { return run_commands({command}, 1, INFINITY).front(); }

}  // namespace mmrec::tune
