#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "runtime/context.h"
#include "runtime/executor.h"
#include "runtime/profile.h"
#include "runtime/scratch.h"
#include "runtime/trace.h"

namespace mmrec {

enum class ExecutorForm { kPool, kOpenMp };
/// Returns the form that MMREC_EXECUTOR names, or the default one.
ExecutorForm executor_of_environment();

/// State of threads.cpp. The executor has the requested number of threads, or as many as the system
/// could start.
struct ThreadsOfContext {
  std::atomic<int> threads{0};  // 0: not set yet
  std::function<void(int started, int wanted)> tell_of_missing_threads;
  std::mutex mutex;              // guards the members below
  std::atomic<int> made_for{0};  // number of the executor's threads; 0: no executor yet
  ExecutorForm form = executor_of_environment();
  std::unique_ptr<Executor> executor;
};

/// State of kernel_registry.cpp.
struct ForcedKernels {
  // Identifies this set of forced kernels; unique over all contexts. 0: only the environment's
  // choice.
  std::atomic<uint64_t> epoch{0};
  std::mutex mutex;                                          // guards the members below
  std::map<std::string, std::string, std::less<>> variants;  // op -> variant, "" for none
  std::vector<const KernelEntry*> kernels;                   // at most one per pass and type
  std::set<std::string> reported;  // MMREC_VERBOSE=dispatch lines already printed
};

/// State of profile.cpp and trace.cpp.
struct Profile {
  /// Of the current context.
  static Profile& current();

  /// now: wall time, seconds. shared: the integral over time of 1 / running, seconds. `running`
  /// counts the calls in progress. The growth of `shared` during a call is the call's share of the
  /// wall time.
  struct Clock {
    double now = 0, shared = 0;
    int running = 0;
    void advance();
  };

  /// What is recorded now; 0: nothing.
  enum Kept : int { kSums = 1, kEvents = 2 };
  std::atomic<int> kept{0};
  bool keeps(Kept what) const { return (kept.load(std::memory_order_relaxed) & what) != 0; }

  std::mutex mutex;  // guards the members below
  std::vector<ProfileRow> rows;
  std::vector<TraceEvent> events;
  Clock clock;
};

/// State of halide_runtime.cpp.
struct HalideError {
  std::mutex mutex;
  // Last error of any thread: a kernel's tasks fail on workers, its caller reports the error.
  std::string message;
};

struct Context::Parts {
  ScratchPool scratch;
  ForcedKernels forced;
  Profile profile;
  HalideError error;
  ThreadsOfContext threads;  // last member: its threads end before the other parts are destroyed
};

inline Profile& Profile::current() { return Context::current().parts().profile; }

}  // namespace mmrec
