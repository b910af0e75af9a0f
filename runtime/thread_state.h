#pragma once

#include <atomic>

#include "runtime/context.h"

namespace mmrec {

class KernelCall;
struct KernelEntry;

/// State of the runtime per thread.
struct ThreadState {
  Context* context = nullptr;  // null: the default context
  bool inside_task = false;    // running a task of this context's executor
  Precision precision = Precision::kFloat32;  // tasks inherit their caller's
  // flag of Interruptible; tasks inherit their caller's
  const std::atomic<int>* stop_asked = nullptr;
  KernelCall* call = nullptr;           // innermost kernel call in progress
  const KernelEntry* kernel = nullptr;  // of the innermost ProfiledCall in progress
};
inline constinit thread_local ThreadState thread_state;

}  // namespace mmrec
