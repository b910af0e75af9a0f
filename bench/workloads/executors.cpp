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

constexpr int kLoops = 100;  // in a call

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

/// What a row's calls need.
struct Loops {
  Context context;
  std::shared_ptr<BusyCore> busy;
};

struct Kind {
  int pieces, nanoseconds;  // of each piece
  bool busy;

  Workload workload(const std::string& executor) const;
  void loops_on(const std::string& executor, int threads) const;
};

constexpr const char* kPlain = "parallel_for";

void Kind::loops_on(const std::string& executor, int threads) const {
  const int rounds = rounds_per_microsecond() * nanoseconds / 1000;
#if defined(MMREC_OPENMP)
  if (executor == kPlain) {
    for (int i = 0; i < kLoops; ++i) plain_openmp_loop(threads, pieces, compute, rounds);
    return;
  }
#endif
  run_with_threads([&] {
    for (int i = 0; i < kLoops; ++i) parallel_for(pieces, [&](int) { compute(rounds); });
  });
}

Workload Kind::workload(const std::string& executor) const {
  const int threads = num_threads();
  Workload work{.op = "executor",
                .pass = {"", busy ? "busy" : "at_rest"},
                .sizes = {kLoops, pieces, nanoseconds},
                .flops = 0,
                .bytes = 0,
                .prepare = [kind = *this, executor, threads](Operands&) -> Invocation {
                  const auto loops = std::make_shared<Loops>();
                  return {.before =
                              [=] {
                                const Context::Use use(loops->context);
                                set_num_threads(threads);
                                if (executor != kPlain) set_executor(executor);
                                if (kind.busy) loops->busy = BusyCore::shared();
                              },
                          .run =
                              [=] {
                                const Context::Use use(loops->context);
                                kind.loops_on(executor, threads);
                              }};
                }};
#if defined(MMREC_OPENMP)
  work.rest = rest_openmp;  // also: not inside a region of the harness
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
    for (const Kind& kind : {Kind{threads, 0, busy}, Kind{threads + 1, 1000, busy},
                             Kind{8, 1000, busy}, Kind{8, 10'000, busy}})
      for (const std::string& executor : executors) cases.add(kind.workload(executor), executor);
}

}  // namespace mmrec::bench
