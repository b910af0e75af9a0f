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
#include "runtime/profile.h"
#include "runtime/scratch.h"
#include "runtime/thread_pool.h"

namespace mmrec {

/// What threads.cpp keeps. The pool has the size that was last asked for, or as many threads as the system starts.
struct PoolOfContext {
  std::atomic<int> threads{0};  // 0: not set yet
  std::function<void(int started, int wanted)> tell_of_missing_threads;
  std::mutex mutex;              // of what follows
  std::atomic<int> made_for{0};  // threads; 0: there is no pool yet
  std::unique_ptr<ThreadPool> pool;
};

/// What kernel_registry.cpp keeps.
struct ForcedKernels {
  std::atomic<uint64_t> epoch{0};                            // no other choice of any context has the same, but for 0: as the environment says
  std::mutex mutex;                                          // of what follows
  std::map<std::string, std::string, std::less<>> variants;  // op -> variant, "" for none
  std::vector<const KernelEntry*> kernels;                   // one of a pass at most
  std::set<std::string> reported;                            // lines of MMREC_VERBOSE=dispatch that have been printed
};

/// What profile.cpp keeps.
struct Profile {
  /// Seconds of wall time, and those that each of the calls now running has had to itself: the integral over time of one over
  /// their number. A call's part of the time is by how much the latter grows while it runs.
  struct Clock {
    double now = 0, shared = 0;
    int running = 0;
    void advance();
  };

  std::atomic<bool> on{false};
  std::mutex mutex;  // of what follows
  std::vector<ProfileRow> rows;
  Clock clock;
};

/// What halide_runtime.cpp keeps.
struct HalideError {
  std::mutex mutex;
  std::string message;  // of any thread: a kernel's tasks fail where they run, its caller reports it
};

struct Context::Parts {
  ScratchPool scratch;
  ForcedKernels forced;
  Profile profile;
  HalideError error;
  PoolOfContext pool;  // its threads end before the rest
};

}  // namespace mmrec
