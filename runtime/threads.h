#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace mmrec {

// Threads of the current context (context.h). One executor (executor.h) serves host loops and
// Halide's parallel loops. A nested parallel loop runs inline on its thread. All threads of a loop
// flush denormals to zero while they run it.

/// Returns the number of cores this process may run on. A smaller control group quota of CPU time
/// limits it (rounded up).
int available_threads();
/// Returns the number of threads without set_num_threads(): OMP_NUM_THREADS if the environment has
/// it, otherwise available_threads().
int default_threads();
/// Sets the number of threads, 1 .. 1024; throws a UsageError otherwise. Do not call it while a
/// parallel loop is running.
void set_num_threads(int threads);
/// Returns the requested number of threads. After the threads have started: the number that did.
int num_threads();
/// Sets the number of threads during the lifetime of this object.
class ScopedThreads {
 public:
  explicit ScopedThreads(int threads) : before_(num_threads()) { set_num_threads(threads); }
  ~ScopedThreads() { set_num_threads(before_); }
  ScopedThreads(const ScopedThreads&) = delete;
  ScopedThreads& operator=(const ScopedThreads&) = delete;

 private:
  int before_;
};
/// Names of the executors that this build has, the default one first: "pool" (thread_pool.h) and,
/// if the compiler has OpenMP, "openmp" (openmp_executor.h). All compute the same bits.
std::vector<std::string> executor_names();
/// Returns the name of the context's executor. A context begins with that of MMREC_EXECUTOR in the
/// environment, or with the default one.
std::string executor_name();
/// Chooses the executor; throws a UsageError for another name. Do not call it while a parallel loop
/// is running.
void set_executor(std::string_view name);
/// Runs body() with the threads at hand: with OpenMP, inside one parallel region. The work of a
/// program belongs in it: a loop outside opens a region of its own. The calling thread runs body();
/// exceptions leave it.
void run_with_threads(const std::function<void()>& body);
/// Starts the threads now instead of in the first parallel loop. Returns how many there are. If the
/// system limits (processes, memory) allow fewer than requested, calls the function set by
/// on_missing_threads once.
int start_threads();
void on_missing_threads(std::function<void(int started, int wanted)> tell);

/// Runs body(i) for i in [0, count), in any order, on the executor. Rethrows the first exception
/// after all tasks have ended.
void parallel_for(int count, void (*call)(void* body, int i), void* body);
template <class Body>
void parallel_for(int count, Body&& body) {  // not std::function, which would allocate
  parallel_for(
      count, [](void* erased, int i) { (*static_cast<std::remove_reference_t<Body>*>(erased))(i); },
      &body);
}

/// Thrown by work that a requested stop has ended; see Interruptible.
struct Interrupted {};

/// During the lifetime of this object, kernels and parallel loops that this thread calls throw
/// Interrupted soon after `asked` becomes non-zero: no further task begins. Their outputs are then
/// undefined. The newest object on a thread counts. The flag belongs to the calls of this thread,
/// not to the context: other threads of the same context go on.
class Interruptible {
 public:
  explicit Interruptible(const std::atomic<int>& asked);
  ~Interruptible();
  Interruptible(const Interruptible&) = delete;
  Interruptible& operator=(const Interruptible&) = delete;

 private:
  const std::atomic<int>* before_;
};

/// For work that no stop may end.
inline const std::atomic<int> kNoStop{0};

/// Throws Interrupted if a stop was requested from this thread, or from the caller whose task this
/// thread runs.
void check_interruption();

}  // namespace mmrec
