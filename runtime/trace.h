#pragma once

#include <string>
#include <string_view>

#include "runtime/kernel_choice.h"

namespace mmrec {

struct Profile;

/// What a thread did for a while. Dispatch, parallel loops and waits record such events while there
/// is a Trace. Events of one thread nest.
struct TraceEvent {
  enum class Kind {
    kKernel,  ///< a call of a kernel, on the thread that called it
    kPart,    ///< tasks of one parallel loop, on one of its threads
    kWait     ///< for other threads: at the end of a loop, or between the steps of a lockstep loop
  };

  Kind kind;
  int thread;                           ///< the system's id
  double begin, end;                    ///< of trace_clock()
  const KernelEntry* kernel = nullptr;  ///< of kPart: whose loop it is; null: a host loop
  Sizes sizes = {};                     ///< of kKernel
  double flops = 0;                     ///< of kKernel
  int first_task = 0, tasks = 0;        ///< of kPart: first task, and number of tasks
  int all_tasks = 0;                    ///< of kPart: the loop's tasks, on all threads
};

/// The first characters of Trace::json().
constexpr std::string_view kTraceBegin = "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[";

/// Seconds, monotonic.
double trace_clock();
/// Returns the system's id of the calling thread.
int trace_thread();

/// Records what the threads of the current context do in the lifetime of this object: the profile
/// (profile.h), call by call. One at a time in a context.
class Trace {
 public:
  Trace();
  ~Trace();
  Trace(const Trace&) = delete;
  Trace& operator=(const Trace&) = delete;

  /// Ends the recording. Returns it in the JSON format of Chrome's traces, which Perfetto
  /// (ui.perfetto.dev) and chrome://tracing show. A row for each thread, the calling thread first.
  /// Complete events ("ph": "X"), times in us: on the calling thread one of the category "step",
  /// called `name`, around all others; then those of the categories "kernel" (args: op, pass,
  /// dtype, variant, params, sizes by name, flops, GFLOP/s), "part" (args: first_task, tasks,
  /// all_tasks) and "wait"; on the other threads "idle" for the time between.
  std::string json(std::string_view name);

 private:
  void stop();

  const double begin_;
};

/// Records a thread's part of a parallel loop, which lasts as long as this object, if a trace is on
/// at its construction and the thread got a task. `kernel`: whose loop it is, or null.
class TracedPart {
 public:
  TracedPart(const KernelEntry* kernel, int all_tasks);
  ~TracedPart() {
    if (profile_ && event_.tasks > 0) record();
  }
  TracedPart(const TracedPart&) = delete;
  TracedPart& operator=(const TracedPart&) = delete;

  /// Counts a task.
  void add(int task) {
    if (event_.tasks++ == 0) event_.first_task = task;
  }

 private:
  void record();

  Profile* const profile_;  // null: no trace is on
  TraceEvent event_;
};

/// Records that the calling thread waits for others as long as this object lives.
class TracedWait {
 public:
  TracedWait();
  ~TracedWait() {
    if (profile_) record();
  }
  TracedWait(const TracedWait&) = delete;
  TracedWait& operator=(const TracedWait&) = delete;

 private:
  void record() const;

  Profile* const profile_;  // null: no trace is on
  const double begin_;
};

}  // namespace mmrec
