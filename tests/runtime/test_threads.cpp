#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <bit>
#include <cfloat>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <optional>
#include <stdexcept>
#include <thread>
#include <vector>

#include "runtime/context.h"
#include "runtime/halide_runtime.h"
#include "runtime/lockstep.h"
#include "runtime/scratch.h"
#include "runtime/thread_pool.h"
#include "runtime/threads.h"
#include "tests/common/executor_test.h"
#include "tests/common/expect_error.h"
#include "tests/common/kernel_test.h"

namespace mmrec {
namespace {

struct ParallelFor : test::ExecutorTest {};
struct RunWithThreads : test::ExecutorTest {};
struct Interruption : test::ExecutorTest {};
struct LockstepLoops : test::ExecutorTest {};
struct ScratchOfTasks : test::ExecutorTest {};
struct HalideRuntime : test::ExecutorTest {};
RUN_ON_EVERY_EXECUTOR(ParallelFor);
RUN_ON_EVERY_EXECUTOR(RunWithThreads);
RUN_ON_EVERY_EXECUTOR(Interruption);
RUN_ON_EVERY_EXECUTOR(LockstepLoops);
RUN_ON_EVERY_EXECUTOR(ScratchOfTasks);
RUN_ON_EVERY_EXECUTOR(HalideRuntime);

TEST(Threads, CountIsChecked) {
  EXPECT_GE(available_threads(), 1);
  for (int threads : {1, 2, 3}) {
    const ScopedThreads scoped(threads);
    EXPECT_EQ(num_threads(), threads);
  }
  for (int wrong : {0, -1, 1025}) EXPECT_THROW(set_num_threads(wrong), Error) << wrong;
}

TEST(Threads, ScopeRestoresTheCount) {
  const int before = num_threads();
  try {
    const ScopedThreads scoped(before + 1);
    EXPECT_EQ(num_threads(), before + 1);
    throw std::runtime_error("a problem");
  } catch (const std::runtime_error&) {
  }
  EXPECT_EQ(num_threads(), before);
  EXPECT_THROW(ScopedThreads(0), Error);
  EXPECT_EQ(num_threads(), before);
}

TEST(Threads, DefaultIsOmpNumThreads) {
  const auto with = [](const char* text) {
    ::setenv("OMP_NUM_THREADS", text, 1);
    const int threads = default_threads();
    ::unsetenv("OMP_NUM_THREADS");
    return threads;
  };
  EXPECT_EQ(with("7"), 7);
  EXPECT_EQ(with("3,2"), 3) << "of the outermost level";
  EXPECT_EQ(with("100000"), 1024);
  for (const char* wrong : {"", "0", "-1", "many"})
    EXPECT_EQ(with(wrong), available_threads()) << wrong;
  ::setenv("OMP_NUM_THREADS", "7", 1);
  {
    Context context;
    const Context::Use use(context);
    EXPECT_EQ(num_threads(), 7);
    set_num_threads(2);
    EXPECT_EQ(num_threads(), 2);
  }
  ::unsetenv("OMP_NUM_THREADS");
}

TEST(Executors, AreChosenByTheEnvironment) {
  for (const std::string& name : executor_names()) {
    ::setenv("MMREC_EXECUTOR", name.c_str(), 1);
    Context context;
    const Context::Use use(context);
    EXPECT_EQ(executor_name(), name);
    for (const std::string& other : executor_names()) {
      set_executor(other);
      EXPECT_EQ(executor_name(), other);
    }
  }
  ::setenv("MMREC_EXECUTOR", "tbb", 1);
  test::expect_error<UsageError>(
      [] { Context(); },
      {"MMREC_EXECUTOR", "'tbb'", executor_names().front(), executor_names().back()});
  for (const bool empty : {true, false}) {
    empty ? ::setenv("MMREC_EXECUTOR", "", 1) : ::unsetenv("MMREC_EXECUTOR");
    Context context;
    const Context::Use use(context);
    EXPECT_EQ(executor_name(), executor_names().front());
    test::expect_error<UsageError>([] { set_executor("tbb"); }, {"'tbb'", "pool"});
  }
}

/// Runs holds() in a forked copy of this process, as a user of its own with a limit on threads. The
/// limit counts all threads of the user, so that tests side by side must not share one.
int with_threads_limited(rlim_t limit, const std::function<bool()>& holds) {
  const pid_t child = ::fork();
  if (child == 0) {
    const uid_t user = 20'000 + static_cast<uid_t>(::getpid()) % 40'000;
    const rlimit limits{limit, limit};
    const bool limited = ::setresgid(user, user, user) == 0 && ::setresuid(user, user, user) == 0 &&
                         ::setrlimit(RLIMIT_NPROC, &limits) == 0;
    ::_exit(!limited ? 2 : holds() ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

TEST(ThreadPool, WorksWithFewerThreadsThanRequested) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizer has a thread of its own";
#endif
  if (::geteuid() != 0) GTEST_SKIP() << "another user's limits need root";
  for (const int limit : {1, 3})
    EXPECT_EQ(with_threads_limited(
                  static_cast<rlim_t>(limit),
                  [&] {
                    ThreadPool pool(7);
                    std::array<std::atomic<int>, 100> visits{};
                    const auto visit = [](void* closure, int i) {
                      ++(*static_cast<std::array<std::atomic<int>, 100>*>(closure))[i];
                      return 0;
                    };
                    return pool.threads() == limit && pool.run(100, visit, &visits) == 0 &&
                           std::ranges::all_of(
                               visits, [](const std::atomic<int>& count) { return count == 1; });
                  }),
              0)
        << limit;
}

TEST(ThreadPool, LeavesHalfOfALimitedAddressSpace) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizer has an address space of its own";
#endif
  const pid_t child = ::fork();
  if (child == 0) {
    constexpr rlim_t kRoom = rlim_t{2} << 30;
    rlim_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    const rlim_t most = pages * static_cast<rlim_t>(::sysconf(_SC_PAGESIZE)) + kRoom;
    const rlimit limits{most, most};
    if (::setrlimit(RLIMIT_AS, &limits) != 0) ::_exit(2);
    ::alarm(20);
    constexpr int kTooMany = 200;
    ThreadPool pool(kTooMany);
    if (pool.threads() == 1 || pool.threads() >= kTooMany) ::_exit(3);
    // Each thread allocates: a task ends when all have begun.
    std::atomic<int> begun{0};
    auto task = [&] {
      if (!std::malloc(100)) ::_exit(4);
      for (++begun; begun < pool.threads();) std::this_thread::yield();
      return 0;
    };
    pool.run(
        pool.threads(),
        [](void* closure, int) { return (*static_cast<decltype(task)*>(closure))(); }, &task);
    constexpr rlim_t kOther = rlim_t{16} << 20;  // what else the process allocates
    ::_exit(std::malloc(kRoom / 2 - kOther) ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

EXECUTOR_TEST(ParallelFor, WorksWithFewerThreadsThanRequested) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizer has a thread of its own";
#endif
  if (::geteuid() != 0) GTEST_SKIP() << "another user's limits need root";
  EXPECT_EQ(
      with_threads_limited(3,
                           [] {
                             Context context;
                             const Context::Use use(context);
                             set_num_threads(8);
                             std::atomic<int> visits{0};
                             run_with_threads([&] { parallel_for(100, [&](int) { ++visits; }); });
                             return num_threads() == 3 && visits == 100;
                           }),
      0);
}

/// OpenMP's threads are not in the copy, and its runtime would wait for them.
EXECUTOR_TEST(ParallelFor, WorksInAForkedProcess) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizer ends a copy of a process with threads that starts threads";
#endif
  const ScopedThreads scoped(2);
  parallel_for(100, [](int) {});
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(20);
    std::atomic<int> visits{0};
    const auto visit = [&] { parallel_for(100, [&](int) { ++visits; }); };
    visit();
    run_with_threads(visit);
    Context another;
    const Context::Use use(another);
    set_num_threads(2);
    visit();
    run_with_threads(visit);
    ::_exit(visits == 400 ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

EXECUTOR_TEST(RunWithThreads, RunsOnTheCallingThreadAndRethrows) {
  const ScopedThreads scoped(2);
  const std::thread::id caller = std::this_thread::get_id();
  int calls = 0;
  run_with_threads([&] {
    ++calls;
    EXPECT_EQ(std::this_thread::get_id(), caller);
    run_with_threads([&] { ++calls; });  // as often as one likes
    set_num_threads(3);                  // another executor
    parallel_for(10, [](int) {});
  });
  EXPECT_EQ(calls, 2);
  EXPECT_THROW(run_with_threads([] { throw std::out_of_range(""); }), std::out_of_range);
  std::atomic<int> asked{1};
  const Interruptible giving_up(asked);
  EXPECT_THROW(run_with_threads([] { parallel_for(10, [](int) {}); }), Interrupted);
}

EXECUTOR_TEST(ParallelFor, EveryIndexOnce) {
  for (int threads : {1, 2, 3}) {
    const ScopedThreads scoped(threads);
    for (int count : {0, 1, 2, 7, 1000}) {
      std::vector<std::atomic<int>> visits(count);
      parallel_for(count, [&](int i) { ++visits[i]; });
      for (int i = 0; i < count; ++i)
        EXPECT_EQ(visits[i], 1) << i << " of " << count << ", " << threads << " threads";
    }
  }
}

EXECUTOR_TEST(ParallelFor, UsesTheThreads) {
  const ScopedThreads scoped(2);
  // Each of the two indices waits for the other to start: a single thread would wait forever.
  std::atomic<int> arrived{0};
  parallel_for(2, [&](int) {
    ++arrived;
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (arrived < 2 && std::chrono::steady_clock::now() < end) std::this_thread::yield();
    EXPECT_EQ(arrived, 2);
  });
}

EXECUTOR_TEST(ParallelFor, ExceptionsAreRethrown) {
  for (int threads : {1, 2}) {
    const ScopedThreads scoped(threads);
    try {
      parallel_for(100, [](int i) {
        if (i == 37) throw std::out_of_range("thirty-seven");
      });
      ADD_FAILURE() << "no exception";
    } catch (const std::out_of_range& error) {
      EXPECT_STREQ(error.what(), "thirty-seven");
    }
    std::atomic<int> visits{0};  // the pool still works
    parallel_for(100, [&](int) { ++visits; });
    EXPECT_EQ(visits, 100);
  }
}

EXECUTOR_TEST(ParallelFor, NestedRunsInline) {
  const ScopedThreads scoped(2);
  std::atomic<int> visits{0};
  parallel_for(4, [&](int) {
    const std::thread::id outer = std::this_thread::get_id();
    parallel_for(25, [&](int) {
      ++visits;
      EXPECT_EQ(std::this_thread::get_id(), outer);
    });
  });
  EXPECT_EQ(visits, 100);
}

EXECUTOR_TEST(Interruption, LoopsEndEarlyAfterAStopRequest) {
  for (int threads : {1, 2}) {
    const ScopedThreads scoped(threads);
    std::atomic<int> asked{0}, visits{0};
    auto visit = [&](int) {
      if (++visits >= 5) asked = 1;
    };
    {
      const Interruptible giving_up(asked);
      EXPECT_THROW(parallel_for(1000, visit), Interrupted);
      EXPECT_LT(visits, 5 + threads) << "each thread may be at one task";
      EXPECT_THROW(parallel_for(1, visit), Interrupted) << "none is begun any more";
      asked = 0;
      visits = 0;
      EXPECT_THROW(parallel_for(2, [&](int) { parallel_for(1000, visit); }), Interrupted)
          << "a loop in a loop";
      EXPECT_LT(visits, 5 + threads);
    }
    visits = 0;
    parallel_for(100, [&](int) { ++visits; });
    EXPECT_EQ(visits, 100) << "whoever is not interruptible goes on";
  }
}

EXECUTOR_TEST(Interruption, NewestCountsAndThePreviousIsRestored) {
  std::atomic<int> asked{1}, not_asked{0};
  const Interruptible outer(asked);
  {
    const Interruptible inner(not_asked);
    EXPECT_NO_THROW(check_interruption());
  }
  EXPECT_THROW(check_interruption(), Interrupted);
}

EXECUTOR_TEST(Interruption, LockstepLoopsEndEarlyToo) {
  const ScopedThreads scoped(2);
  std::atomic<int> asked{0}, last{0};
  const Interruptible giving_up(asked);
  const auto make = [&](int) {
    return [&](int t) {
      check_interruption();
      last = t;
      if (t == 10) asked = 1;
    };
  };
  EXPECT_THROW(lockstep(2, 1'000'000, make), Interrupted);
  EXPECT_LT(last, 12);
}

/// Step t of every part adds up what all parts wrote in step t - 1. The sum is wrong unless every
/// step ran once and in order.
void check_lockstep(int parts, int steps) {
  std::vector<int64_t> values((steps + 1) * parts, 1);
  lockstep(parts, steps, [&](int part) {
    return [&, part](int t) {
      int64_t sum = values[(t + 1) * parts + part] - 1;  // 0 at the first step
      for (int other = 0; other < parts; ++other) sum += values[t * parts + other] % 1000003;
      values[(t + 1) * parts + part] = sum + part;
    };
  });
  std::vector<int64_t> before(parts, 1);
  for (int t = 0; t < steps; ++t) {
    int64_t sum = 0;
    for (int64_t value : before) sum += value % 1000003;
    for (int part = 0; part < parts; ++part) {
      before[part] = sum + part;
      ASSERT_EQ(values[(t + 1) * parts + part], sum + part)
          << "step " << t << ", part " << part << " of " << parts;
    }
  }
}

// On a busy machine tasks may overlap only after the first run.
EXECUTOR_TEST(ScratchOfTasks, HasEnoughForAllThreadsAfterOneTask) {
  constexpr size_t kBytes = 123'457'000;  // a size class that no other test uses
  for (const int threads : {1, 3, 2, 4}) {
    const ScopedThreads scoped(threads);
    for (const int blocks : {1, 2}) {
      parallel_for(2, [&](int task) {
        if (task > 0) return;
        const Scratch first(kBytes);
        if (blocks > 1) const Scratch second(kBytes);
      });
      const int64_t before = scratch_system_allocations();
      std::atomic<int> holding{0};
      parallel_for(threads, [&](int) {
        const Scratch first(kBytes);
        std::optional<Scratch> second;
        if (blocks > 1) second.emplace(kBytes);
        ++holding;
        const auto patience = std::chrono::steady_clock::now() + std::chrono::milliseconds(100);
        while (holding < threads && std::chrono::steady_clock::now() < patience)
          std::this_thread::yield();
      });
      EXPECT_EQ(scratch_system_allocations(), before)
          << threads << " threads, " << blocks << " blocks";
    }
  }
}

EXECUTOR_TEST(LockstepLoops, EveryStepRunsOnceAndInOrder) {
  for (int threads : {1, 2, 3}) {
    const ScopedThreads scoped(threads);
    for (int parts = 1; parts <= max_lockstep_parts(); ++parts)
      for (int steps : {0, 1, 2, 500}) check_lockstep(parts, steps);
  }
}

EXECUTOR_TEST(LockstepLoops, DoesNotWaitForAbsentThreads) {
  const ScopedThreads scoped(3);
  // inside a loop there is only the calling thread
  parallel_for(2, [](int) { check_lockstep(3, 100); });
}

EXECUTOR_TEST(LockstepLoops, ExceptionsAreRethrown) {
  const ScopedThreads scoped(2);
  const auto run = [](int failing_part) {
    lockstep(2, 100, [=](int part) {
      return [=](int t) {
        if (part == failing_part && t == 37) throw std::out_of_range("thirty-seven");
      };
    });
  };
  for (int part : {0, 1}) EXPECT_THROW(run(part), std::out_of_range);
  run(-1);
}

EXECUTOR_TEST(ParallelFor, FlushesDenormals) {
  const ScopedThreads scoped(2);
  std::atomic<int> denormal_results{0};
  parallel_for(64, [&](int) {
    volatile float smallest_normal = FLT_MIN, denormal = std::bit_cast<float>(0x00400000u);
    // a denormal as a result, and as an operand
    const float halved = smallest_normal * 0.5f, scaled = denormal * 0x1p100f;
    if (halved != 0 || scaled != 0) ++denormal_results;
  });
  EXPECT_EQ(denormal_results, 0);
}

// The result of do_par_for is that of the loop: the first failure. No task begins after it.
EXECUTOR_TEST(HalideRuntime, ParallelLoopsReturnTheFirstFailure) {
  install_halide_runtime();
  const auto task = [](void*, int i, uint8_t* begun) {
    ++*reinterpret_cast<std::atomic<int>*>(begun);
    return i == 3 ? 42 : 0;
  };
  for (int threads : {1, 2}) {
    const ScopedThreads scoped(threads);
    std::atomic<int> begun{0};
    EXPECT_EQ(halide_do_par_for(nullptr, task, 0, 100000, reinterpret_cast<uint8_t*>(&begun)), 42);
    EXPECT_LT(begun, 100000);
    EXPECT_EQ(halide_do_par_for(nullptr, task, 4, 50, reinterpret_cast<uint8_t*>(&begun)), 0);
  }
}

}  // namespace
}  // namespace mmrec
