#pragma once

#include <nanobind/nanobind.h>
#include <signal.h>

#include <atomic>
#include <shared_mutex>

#include "train/library/runtime.h"

namespace mmrec::python {

namespace nb = nanobind;

/// Locked by all that computes, for sharing, and by what sets the number of threads.
std::shared_mutex& threads_mutex();

/// While it lives, the calling thread computes: Python's other threads run, and the number of
/// MM-Rec's threads stays as it is. No object of Python may be touched meanwhile.
class Computing {
  nb::gil_scoped_release others_run_;
  std::shared_lock<std::shared_mutex> lock_{threads_mutex()};
};

/// While it lives on the main thread, Ctrl-C also asks for a stop of the computation: Python's
/// handler alone would be heard at its end. On other threads it does nothing, as there Python
/// raises no KeyboardInterrupt either. One object at a time.
class StopOnInterrupt {
 public:
  StopOnInterrupt();
  ~StopOnInterrupt();
  StopOnInterrupt(const StopOnInterrupt&) = delete;
  StopOnInterrupt& operator=(const StopOnInterrupt&) = delete;

  /// Becomes non-zero when a stop is asked for. Lives as long as the program.
  const std::atomic<int>& asked() const { return listens_ ? asked_ : kNoStop; }

 private:
  static std::atomic<int> asked_;
  static struct sigaction before_;
  bool listens_;
};

/// Returns work(asked), which computes for long. If Ctrl-C interrupts it, raises KeyboardInterrupt
/// in its place, or does it again if the program's own handler has raised nothing.
template <class Work>
auto compute(const Work& work) {
  for (;;) {
    try {
      const StopOnInterrupt interrupt;
      const Computing computing;
      return work(interrupt.asked());
    } catch (const Interrupted&) {
    }
    if (PyErr_CheckSignals() != 0) throw nb::python_error();
  }
}

}  // namespace mmrec::python
