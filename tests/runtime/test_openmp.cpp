#include <gtest/gtest.h>
#include <omp.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
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
      std::atomic<int> arrived{0};
      const int together = executor_name() == "openmp" ? omp_get_num_threads() : 1;
      parallel_for(6, [&](int) {
        workers.note();
        ++arrived;
        const auto patience = std::chrono::steady_clock::now() + std::chrono::seconds(20);
        while (arrived < together && std::chrono::steady_clock::now() < patience)
          std::this_thread::yield();
        EXPECT_GE(arrived, together);
      });
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

// Started by the test below, with OMP_PROC_BIND.
TEST(DISABLED_OpenMp, LoopsWithBoundThreads) {
  EXPECT_EQ(available_threads(), std::atoi(std::getenv("CORES")));
  if (available_threads() == 1) GTEST_SKIP() << "one core";
  for (const std::string& executor : executor_names()) {
    Context context;
    const Context::Use use(context);
    set_executor(executor);
    set_num_threads(available_threads());
    std::atomic<int> arrived{0};
    cpu_set_t all;
    CPU_ZERO(&all);
    std::mutex mutex;
    parallel_for(num_threads(), [&](int) {
      cpu_set_t mine;
      sched_getaffinity(0, sizeof mine, &mine);
      {
        std::lock_guard lock(mutex);
        CPU_OR(&all, &all, &mine);
      }
      ++arrived;
      const auto patience = std::chrono::steady_clock::now() + std::chrono::seconds(20);
      while (arrived < num_threads() && std::chrono::steady_clock::now() < patience)
        std::this_thread::yield();
    });
    EXPECT_EQ(CPU_COUNT(&all), available_threads()) << executor;
  }
}

/// OpenMP's runtime binds the main thread, and what is started from it, to one place.
TEST(OpenMp, BoundThreadsHaveAllCores) {
  const test::TemporaryDirectory directory;
  test::Process process(
      {"/proc/self/exe", "--gtest_also_run_disabled_tests", "--gtest_filter=DISABLED_OpenMp.*"},
      {"OMP_PROC_BIND=true", "CORES=" + std::to_string(available_threads())}, directory.path());
  EXPECT_EQ(process.wait(), 0);
}

}  // namespace
}  // namespace mmrec
