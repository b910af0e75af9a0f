#pragma once

#include <atomic>

namespace mmrec {

class Context;
class KernelCall;

/// What the runtime knows of the thread that it runs on.
struct ThreadState {
  Context* context = nullptr;                    // null: the default one
  bool inside_task = false;                      // of a pool of that context
  const std::atomic<int>* stop_asked = nullptr;  // of Interruptible, also at the tasks of that thread's loops
  KernelCall* call = nullptr;                    // the innermost that is under way
};
inline constinit thread_local ThreadState thread_state;

}  // namespace mmrec
