#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <type_traits>

namespace mmrec {

// One pool (thread_pool.h) serves host loops and Halide's parallel loops. A parallel loop inside a parallel loop runs inline on
// the thread that meets it. Every thread that takes part flushes denormals to zero, as do the kernels' callers.

/// Number of cores that this process may run on; fewer where a control group's quota is less CPU time than theirs, rounded up.
int available_threads();
/// 1 .. 1024; from now on, for everything. Not while a parallel loop is running.
void set_num_threads(int threads);
/// As many as were asked for; once they have been started, as many as there are.
int num_threads();
/// Starts them, which the first parallel loop does otherwise, and returns how many there are: fewer than were asked for where the system
/// starts no more (limits on processes or memory), which the function of on_missing_threads is told then, once.
int start_threads();
void on_missing_threads(std::function<void(int started, int wanted)> tell);

/// body(i) for i in [0, count), in any order, on the pool. The first exception is rethrown when all are done.
void parallel_for(int count, void (*call)(void* body, int i), void* body);
template <class Body>
void parallel_for(int count, Body&& body) {  // not a std::function, which would allocate
  parallel_for(count, [](void* body, int i) { (*static_cast<std::remove_reference_t<Body>*>(body))(i); }, &body);
}

/// What is under way has been given up because a stop was asked for; see Interruptible.
struct Interrupted {};

/// While it lives, kernels and parallel loops that this thread calls throw Interrupted soon after `asked` is no longer 0: no further task is
/// begun. What they were writing then has any values. One object a thread.
class Interruptible {
 public:
  explicit Interruptible(const std::atomic<int>& asked);
  ~Interruptible();
  Interruptible(const Interruptible&) = delete;
  Interruptible& operator=(const Interruptible&) = delete;
};

/// Throws Interrupted where this thread, or the one whose loop's task it is at, is Interruptible and a stop was asked for.
void check_interruption();

/// Installs the pool, the scratch allocator and the error handler behind Halide's runtime. Idempotent; dispatch calls it.
void install_halide_runtime();

/// The message of the last error that Halide's runtime reported, on whichever thread.
std::string last_halide_error();

}  // namespace mmrec
