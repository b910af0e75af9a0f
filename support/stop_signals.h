#pragma once

#include <array>
#include <atomic>
#include <csignal>
#include <string>

namespace mmrec {

/// During the lifetime of this object the first SIGINT (Ctrl-C), SIGTERM or SIGHUP only requests a
/// stop. A second one has its default effect and ends the process at once. SIGPIPE, which arrives
/// with each write that nobody reads (`train | head`), requests a stop and never ends the process.
/// A signal that was ignored before (as under nohup) stays ignored. One object at a time.
class StopSignals {
 public:
  /// announce: on the first signal, print to standard error that a second one ends the process.
  /// SIGPIPE prints nothing.
  explicit StopSignals(bool announce);
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  /// The signal that requested a stop, or 0.
  int received() const { return asked(); }
  /// The variable behind received(), for Interruptible.
  const std::atomic<int>& asked() const;

 private:
  static constexpr std::array kSignals{SIGINT, SIGTERM, SIGHUP, SIGPIPE};
  std::array<struct sigaction, kSignals.size()> before_{};
};

/// During the lifetime of this object SIGTSTP (Ctrl-Z) only sets a flag, so that the program can
/// first stop child processes that the signal does not reach. A signal that was ignored before
/// stays ignored. One object at a time.
class SuspendSignal {
 public:
  SuspendSignal();
  ~SuspendSignal();
  SuspendSignal(const SuspendSignal&) = delete;
  SuspendSignal& operator=(const SuspendSignal&) = delete;

  bool received() const;
  /// Stops this process, as the signal would. Returns when the process continues (fg, bg).
  void obey();

 private:
  void listen();
  struct sigaction before_ {};
};

/// Returns the name, such as "SIGINT".
std::string signal_name(int signal);

}  // namespace mmrec
