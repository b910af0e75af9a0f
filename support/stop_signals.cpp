#include "support/stop_signals.h"

#include <fmt/core.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <string_view>

namespace mmrec {

namespace {

std::atomic<int> first_signal{0};
std::atomic<bool> announced{false};
std::atomic<bool> suspension_asked{false};
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler must not wait for a lock");

void on_signal(int number) {
  const int error = errno;
  int none = 0;
  const bool is_first = first_signal.compare_exchange_strong(none, number);
  if (!is_first && number != SIGPIPE) {
    std::signal(number, SIG_DFL);
    std::raise(number);  // delivered when this handler returns
  } else if (announced && number != SIGPIPE) {
    constexpr std::string_view kNotice = "\nstopping and saving; a second signal ends at once\n";
    [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, kNotice.data(), kNotice.size());
  }
  errno = error;
}

}  // namespace

StopSignals::StopSignals(bool announce) {
  first_signal = 0;
  announced = announce;
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;  // system calls in progress do not fail with EINTR
  for (size_t i = 0; i < kSignals.size(); ++i) {
    ::sigaction(kSignals[i], nullptr, &before_[i]);
    if (before_[i].sa_handler != SIG_IGN) ::sigaction(kSignals[i], &action, nullptr);
  }
}

StopSignals::~StopSignals() {
  for (size_t i = 0; i < kSignals.size(); ++i) ::sigaction(kSignals[i], &before_[i], nullptr);
}

const std::atomic<int>& StopSignals::asked() const { return first_signal; }

SuspendSignal::SuspendSignal() {
  suspension_asked = false;
  ::sigaction(SIGTSTP, nullptr, &before_);
  listen();
}

SuspendSignal::~SuspendSignal() { ::sigaction(SIGTSTP, &before_, nullptr); }

void SuspendSignal::listen() {
  if (before_.sa_handler == SIG_IGN) return;
  struct sigaction action {};
  action.sa_handler = [](int) { suspension_asked = true; };
  action.sa_flags = SA_RESTART;
  ::sigaction(SIGTSTP, &action, nullptr);
}

bool SuspendSignal::received() const { return suspension_asked; }

void SuspendSignal::obey() {
  suspension_asked = false;
  ::sigaction(SIGTSTP, &before_, nullptr);
  std::raise(SIGTSTP);
  listen();
}

std::string signal_name(int signal) {
  const char* name = ::sigabbrev_np(signal);
  return name ? fmt::format("SIG{}", name) : fmt::format("signal {}", signal);
}

}  // namespace mmrec
