#pragma once

#include <array>
#include <atomic>
#include <csignal>
#include <string>

namespace mmrec {

/// While it lives, the first SIGINT (Ctrl-C), SIGTERM or SIGHUP only asks for a stop; a second one does what it always does and
/// ends the process at once. SIGPIPE, which comes with each line that nobody reads any more (`train | head`), asks and never
/// ends. A signal that was ignored before (as under nohup) stays so. One object at a time.
class StopSignals {
 public:
  /// announce: the first signal says on standard error that a second one ends the process; SIGPIPE says nothing.
  explicit StopSignals(bool announce);
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  /// The signal that asked for a stop, or 0.
  int received() const { return asked(); }
  /// Where received() stands, for Interruptible.
  const std::atomic<int>& asked() const;

 private:
  static constexpr std::array kSignals{SIGINT, SIGTERM, SIGHUP, SIGPIPE};
  std::array<struct sigaction, kSignals.size()> before_{};
};

/// While it lives, SIGTSTP (Ctrl-Z) only asks: whoever has processes that it does not reach stops them first. A signal that was ignored
/// before stays so. One object at a time.
class SuspendSignal {
 public:
  SuspendSignal();
  ~SuspendSignal();
  SuspendSignal(const SuspendSignal&) = delete;
  SuspendSignal& operator=(const SuspendSignal&) = delete;

  bool received() const;
  /// Stops this process, as the signal does by itself. Returns when it goes on (fg, bg).
  void obey();

 private:
  void listen();
  struct sigaction before_ {};
};

/// "SIGINT".
std::string signal_name(int signal);

}  // namespace mmrec
