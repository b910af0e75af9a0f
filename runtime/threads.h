#pragma once

#include <atomic>
#include <functional>
#include <type_traits>

namespace mmrec {

// The threads of the current context (context.h). One pool (thread_pool.h) serves host loops and Halide's parallel loops. A parallel loop
// inside a parallel loop runs inline on the thread that meets it. Every thread that takes part flushes denormals to zero meanwhile.

/// Number of cores that this process may run on; fewer where a control group's quota is less CPU time than theirs, rounded up.
int available_threads();
/// 1 .. 1024, from now on. Not while a parallel loop is running.
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
/// begun. What they were writing then has any values. Of several objects on a thread the youngest counts. It belongs to the calls and not to the
/// context: other threads that compute with the same context go on.
class Interruptible {
 public:
  explicit Interruptible(const std::atomic<int>& asked);
  ~Interruptible();
  Interruptible(const Interruptible&) = delete;
  Interruptible& operator=(const Interruptible&) = delete;

 private:
  const std::atomic<int>* before_;
};

/// Throws Interrupted where this thread, or the one whose loop's task it is at, is Interruptible and a stop was asked for.
void check_interruption();

}  // namespace mmrec
