#include "python/computing.h"

#include <unistd.h>

namespace mmrec::python {

std::shared_mutex& threads_mutex() {
  static std::shared_mutex mutex;
  return mutex;
}

std::atomic<int> StopOnInterrupt::asked_{0};
struct sigaction StopOnInterrupt::before_ {};

StopOnInterrupt::StopOnInterrupt() : listens_(::gettid() == ::getpid()) {
  if (!listens_) return;
  ::sigaction(SIGINT, nullptr, &before_);
  // a program that ignores the signal, or that it ends, shall have it so
  listens_ = before_.sa_handler != SIG_IGN && before_.sa_handler != SIG_DFL;
  if (!listens_) return;
  asked_ = 0;
  struct sigaction action = before_;
  action.sa_flags |= SA_SIGINFO;
  action.sa_sigaction = [](int number, siginfo_t* info, void* context) {
    asked_ = 1;
    if (before_.sa_flags & SA_SIGINFO)
      before_.sa_sigaction(number, info, context);
    else
      before_.sa_handler(number);
  };
  ::sigaction(SIGINT, &action, nullptr);
}

StopOnInterrupt::~StopOnInterrupt() {
  if (listens_) ::sigaction(SIGINT, &before_, nullptr);
}

}  // namespace mmrec::python
