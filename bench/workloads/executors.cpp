#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>

#include "bench/rivals/rivals.h"
#include "bench/workloads/workloads.h"
#include "runtime/context.h"
#include "runtime/threads.h"

namespace mmrec::bench {

namespace {

/// Computes for a number of rounds, which no compiler shortens.
void compute(int rounds) {
  volatile uint32_t result = 1;
  uint32_t value = result;
  for (int i = 0; i < rounds; ++i) value = value * 1664525u + 1013904223u;
  result = value;
}

/// Returns how many rounds take a microsecond.
int rounds_per_microsecond() {
  static const int rounds = [] {
    constexpr int kRounds = 100'000;
    double best = INFINITY;
    for (int i = 0; i < 20; ++i) {
      const auto begin = std::chrono::steady_clock::now();
      compute(kRounds);
      best = std::min(
          best, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    }
    return std::max(1, static_cast<int>(1e-6 * kRounds / best));
  }();
  return rounds;
}

/// Keeps the last core that this process may use busy, as another program would.
class BusyCore {
 public:
  BusyCore() : thread_([this] { spin(); }) {}
  ~BusyCore() {
    stopping_ = true;
    thread_.join();
  }
  BusyCore(const BusyCore&) = delete;
  BusyCore& operator=(const BusyCore&) = delete;

  /// Returns the one that the rows of a group share.
  static std::shared_ptr<BusyCore> shared() {
    static std::weak_ptr<BusyCore> last;
    std::shared_ptr<BusyCore> core = last.lock();
    if (!core) last = core = std::make_shared<BusyCore>();
    return core;
  }

 private:
  void spin() const {
    cpu_set_t cores, last;
    CPU_ZERO(&last);
    if (sched_getaffinity(0, sizeof cores, &cores) == 0)
      for (int core = CPU_SETSIZE - 1; core >= 0 && CPU_COUNT(&last) == 0; --core)
        if (CPU_ISSET(core, &cores)) CPU_SET(core, &last);
    sched_setaffinity(0, sizeof last, &last);
    while (!stopping_.load(std::memory_order_relaxed)) compute(1000);
  }

  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

constexpr const char* kPlain = "parallel_for";
/// Loops in a call. Beside a busy core a few of them take most of the time, when the system has
/// taken a thread off its core: a call must last longer than such a time slice, some milliseconds.
constexpr int kLoops = 1000;

/// A loop to time.
struct Loop {
  int pieces, nanoseconds;  // of each piece
  bool busy;

  Workload workload(const std::string& executor) const;
};

/// What the calls of a row need.
struct Place {
  Context context;
  std::shared_ptr<BusyCore> busy;
};

void run_loop(const std::string& executor, int threads, int pieces, int rounds) {
#if defined(MMREC_OPENMP)
  if (executor == kPlain) return plain_openmp_loop(threads, pieces, compute, rounds);
#endif
  parallel_for(pieces, [&](int) { compute(rounds); });
}

Workload Loop::workload(const std::string& executor) const {
  const int threads = num_threads();
  Workload work{.op = "executor",
                .pass = {"", busy ? "busy" : "at_rest"},
                .sizes = {kLoops, pieces, nanoseconds},
                .flops = 0,
                .bytes = 0,
                .prepare = [loop = *this, executor, threads](Operands&) -> Invocation {
                  const auto place = std::make_shared<Place>();
                  const auto before = [=] {
                    const Context::Use use(place->context);
                    set_num_threads(threads);
                    if (executor != kPlain) set_executor(executor);
                    if (loop.busy) place->busy = BusyCore::shared();
                  };
                  const auto around = [=](const std::function<void()>& body) {
                    if (executor == kPlain) return body();
                    const Context::Use use(place->context);
                    run_with_threads(body);
                  };
                  const int rounds = rounds_per_microsecond() * loop.nanoseconds / 1000;
                  return {.before = before,
                          .run =
                              [=] {
                                for (int i = 0; i < kLoops; ++i)
                                  run_loop(executor, threads, loop.pieces, rounds);
                              },
                          .around = around};
                }};
#if defined(MMREC_OPENMP)
  work.rest = rest_openmp;
#endif
  return work;
}

}  // namespace

void add_executors(Cases& cases) {
  std::vector<std::string> executors = executor_names();
#if defined(MMREC_OPENMP)
  executors.push_back(kPlain);
#endif
  const int threads = num_threads();
  for (const bool busy : {false, true})
    for (const Loop& loop : {Loop{threads, 0, busy}, Loop{threads + 1, 1000, busy},
                             Loop{8, 1000, busy}, Loop{8, 10'000, busy}})
      for (const std::string& executor : executors) cases.add(loop.workload(executor), executor);
}

}  // namespace mmrec::bench
