#include <fmt/format.h>
#include <gtest/gtest.h>
#include <omp.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <mutex>
#include <set>
#include <string>
#include <thread>

#include "runtime/context.h"
#include "runtime/threads.h"
#include "tests/common/executor_test.h"
#include "tests/common/process.h"
#include "tests/common/temporary_directory.h"

namespace mmrec {
namespace {

/// The threads that run tasks.
class Workers {
 public:
  void note() {
    std::lock_guard lock(mutex_);
    ids_.insert(::gettid());
  }
  size_t count() const { return ids_.size(); }
  bool are_among(const Workers& others) const { return std::ranges::includes(others.ids_, ids_); }

 private:
  std::mutex mutex_;
  std::set<pid_t> ids_;
};

void work_for_some_time() {
  const auto end = std::chrono::steady_clock::now() + std::chrono::microseconds(200);
  while (std::chrono::steady_clock::now() < end) {
  }
}

/// Runs a loop whose tasks call note() and then wait until `together` of them have begun.
void meet(int tasks, int together, const std::function<void()>& note) {
  std::atomic<int> arrived{0};
  parallel_for(tasks, [&](int) {
    note();
    ++arrived;
    const auto patience = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (arrived < together && std::chrono::steady_clock::now() < patience)
      std::this_thread::yield();
    EXPECT_GE(arrived, together);
  });
}

struct InAProgramsRegion : test::ExecutorTest {};
RUN_ON_EVERY_EXECUTOR(InAProgramsRegion);

/// All threads of the program's team call loops of one context.
EXECUTOR_TEST(InAProgramsRegion, LoopsHaveNoOtherThreads) {
  const ScopedThreads scoped(4);
  Workers team, workers;
#pragma omp parallel num_threads(3)
  {
    team.note();
#pragma omp barrier
    for (int i = 0; i < 20; ++i)
      parallel_for(6, [&](int) {
        workers.note();
        work_for_some_time();
      });
  }
  EXPECT_GE(team.count(), workers.count());
  EXPECT_TRUE(workers.are_among(team));
}

/// One thread of the program's team calls loops, and the others are idle.
EXECUTOR_TEST(InAProgramsRegion, IdleThreadsHelpTheOpenMpExecutor) {
  const ScopedThreads scoped(4);
  Workers team, workers;
#pragma omp parallel num_threads(3)
  {
    team.note();
#pragma omp barrier
#pragma omp single
    {
      const int together = executor_name() == "openmp" ? omp_get_num_threads() : 1;
      meet(6, together, [&] { workers.note(); });
      EXPECT_GE(static_cast<int>(workers.count()), together);
    }
  }
  EXPECT_TRUE(workers.are_among(team));
}

TEST(OpenMp, RegionIsOpenedOnce) {
  Context context;
  const Context::Use use(context);
  set_executor("openmp");
  set_num_threads(2);
  run_with_threads([] {
    EXPECT_EQ(omp_get_num_threads(), 2);
    EXPECT_EQ(omp_get_level(), 1);
    parallel_for(4, [](int) { EXPECT_EQ(omp_get_level(), 1); });
    run_with_threads([] { EXPECT_EQ(omp_get_level(), 1); });
  });
}

/// OpenMP's runtime binds the main thread to one core before main(), and threads inherit that.
TEST(OpenMp, BoundThreadsHaveAllCores) {
  constexpr const char* kCores = "MMREC_TEST_CORES";
  if (!std::getenv(kCores)) {
    const test::TemporaryDirectory directory;
    test::Process bound({"/proc/self/exe", "--gtest_filter=OpenMp.BoundThreadsHaveAllCores"},
                        {"OMP_PROC_BIND=true", fmt::format("{}={}", kCores, available_threads())},
                        directory.path());
    EXPECT_EQ(bound.wait(std::chrono::seconds(60)), 0);
    return;
  }
  EXPECT_EQ(fmt::format("{}", available_threads()), std::getenv(kCores));
  for (const std::string& executor : executor_names()) {
    Context context;
    const Context::Use use(context);
    set_executor(executor);
    set_num_threads(available_threads());
    cpu_set_t all;
    CPU_ZERO(&all);
    std::mutex mutex;
    meet(num_threads(), num_threads(), [&] {
      cpu_set_t mine;
      sched_getaffinity(0, sizeof mine, &mine);
      const std::lock_guard lock(mutex);
      CPU_OR(&all, &all, &mine);
    });
    EXPECT_EQ(CPU_COUNT(&all), available_threads()) << executor;
  }
}

}  // namespace
}  // namespace mmrec
