#include "support/run_commands.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstring>
#include <optional>
#include <thread>

#include "support/child_process.h"
#include "support/stop_signals.h"

namespace mmrec {

namespace {

using Clock = std::chrono::steady_clock;

struct Running {
  size_t index;
  ChildProcess process;
  Clock::time_point end;
};

}  // namespace

std::string Ending::describe() const {
  if (too_late) return "took too long";
  return code < 0 ? fmt::format("ended by signal {} ({})", -code, ::strsignal(-code))
                  : fmt::format("exit code {}", code);
}

std::vector<Ending> run_commands(const std::vector<Command>& commands, int at_once, double limit,
                                 double all, const std::function<void()>& wait) {
  const auto duration = [](double seconds) {
    return std::chrono::duration_cast<Clock::duration>(
        std::chrono::duration<double>(std::min(seconds, 1e8)));
  };
  auto last = Clock::now() + duration(all);
  SuspendSignal suspend;
  std::vector<Ending> endings(commands.size());
  std::vector<Running> running;
  for (size_t next = 0; next < commands.size() || !running.empty();) {
    while (next < commands.size() && std::ssize(running) < at_once) {
      running.push_back(
          {next, ChildProcess(commands[next].words, commands[next].output, commands[next].errors),
           std::min(last, Clock::now() + duration(limit))});
      ++next;
    }
    std::erase_if(running, [&](Running& one) {
      Ending& ending = endings[one.index];
      if (const std::optional<int> code = one.process.poll()) {
        ending.code = *code;
        return true;
      }
      if (Clock::now() < one.end) return false;
      one.process.send(SIGKILL);
      ending = {one.process.wait(), true};
      return true;
    });
    if (running.empty()) continue;
    if (suspend.received()) {
      const auto begin = Clock::now();
      for (const Running& one : running) one.process.send(SIGSTOP);
      suspend.obey();
      const auto pause = Clock::now() - begin;
      last += pause;
      for (Running& one : running) {
        one.process.send(SIGCONT);
        one.end += pause;
      }
    }
    wait();
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return endings;
}

Ending run_command(const Command& command, double limit) {
  return run_commands({command}, 1, limit).front();
}

}  // namespace mmrec
