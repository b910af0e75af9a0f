#pragma once

#include <sched.h>

#include <memory>
#include <optional>

#include "runtime/executor.h"

namespace mmrec {

/// Returns an executor on OpenMP's threads; null if the build has no OpenMP.
///
/// A loop that is called inside a parallel region, of run_with_threads or of the program's own, is
/// a task group: threads of the team that are idle may run its tasks, and none must. Outside a
/// region the loop opens one for itself. That one ends only when every thread of the team has
/// arrived, also a thread that the system has taken off its core.
std::unique_ptr<Executor> make_openmp_executor(int threads);

/// Returns whether the calling thread is in a parallel region of several threads.
bool inside_openmp_region();

/// Returns whether this process was forked by one that had OpenMP's threads. They do not exist
/// here, but OpenMP's runtime would wait for them.
bool lost_openmp_threads();

/// If the environment has OpenMP's threads bound (OMP_PLACES, OMP_PROC_BIND): the cores of all
/// places. OpenMP's runtime has then bound the main thread to the first place, before main(), and
/// the threads that it starts inherit that.
std::optional<cpu_set_t> openmp_places();

}  // namespace mmrec
