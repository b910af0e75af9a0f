#include "runtime/openmp_executor.h"

#if defined(_OPENMP)
#include <omp.h>
#include <pthread.h>

#include <algorithm>
#include <exception>
#include <optional>
#include <vector>

#include "runtime/flush_denormals.h"
#include "runtime/trace.h"
#endif

namespace mmrec {

#if defined(_OPENMP)

namespace {

std::atomic<bool> lost_threads{false};

/// Call it before OpenMP starts threads.
void notice_forks() {
  static const int registered =
      ::pthread_atfork(nullptr, nullptr, [] { lost_threads.store(true); });
  (void)registered;
}

class OpenMpExecutor final : public Executor {
 public:
  explicit OpenMpExecutor(int threads) { set_threads(threads); }
  void run_with_threads(const std::function<void()>& body) override;

 private:
  int threads_at_hand() const override {
    if (lost_openmp_threads()) return 1;
    return inside_openmp_region() ? std::min(threads(), omp_get_num_threads()) : threads();
  }
  void share_out() override { inside_openmp_region() ? share_with_team() : share_in_a_region(); }
  void share_with_team();
  void share_in_a_region();
};

void OpenMpExecutor::run_with_threads(const std::function<void()>& body) {
  const int wanted = threads();
  if (wanted < 2 || inside_openmp_region() || lost_openmp_threads()) return body();
  notice_forks();
  std::exception_ptr failure;  // none may leave the region
#pragma omp parallel num_threads(wanted) default(none) shared(body, failure)
#pragma omp master
  {
    try {
      body();
    } catch (...) {
      failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

void OpenMpExecutor::share_with_team() {
  const int team = omp_get_num_threads(), caller = omp_get_thread_num();
  std::optional<TracedWait> waiting;
#pragma omp taskgroup
  {
    for (int helper = 1; helper < parts(); ++helper) {
#pragma omp task default(none) firstprivate(team, caller)
      {
        const FlushDenormals flush;
        // A thread of the team has the same range in every loop.
        take_tasks((omp_get_thread_num() - caller + team) % team % parts());
      }
    }
    take_tasks(0);
    waiting.emplace();
    // Tasks that no thread has begun run here, at the end of the group, and find no work.
  }
}

void OpenMpExecutor::share_in_a_region() {
  notice_forks();
  std::optional<TracedWait> waiting;
#pragma omp parallel num_threads(parts())
  {
    const FlushDenormals flush;
    take_tasks(omp_get_thread_num());
    if (omp_get_thread_num() == 0) waiting.emplace();
  }
}

}  // namespace

std::unique_ptr<Executor> make_openmp_executor(int threads) {
  return std::make_unique<OpenMpExecutor>(threads);
}

bool inside_openmp_region() { return omp_in_parallel() != 0 && !lost_openmp_threads(); }

bool lost_openmp_threads() { return lost_threads.load(std::memory_order_relaxed); }

std::optional<cpu_set_t> openmp_places() {
  const int places = omp_get_num_places();
  if (places == 0) return std::nullopt;
  cpu_set_t cores;
  CPU_ZERO(&cores);
  for (int place = 0; place < places; ++place) {
    std::vector<int> ids(omp_get_place_num_procs(place));
    omp_get_place_proc_ids(place, ids.data());
    for (const int id : ids) CPU_SET(id, &cores);
  }
  return cores;
}

#else

std::unique_ptr<Executor> make_openmp_executor(int) { return nullptr; }
bool inside_openmp_region() { return false; }
bool lost_openmp_threads() { return false; }
std::optional<cpu_set_t> openmp_places() { return std::nullopt; }

#endif

}  // namespace mmrec
