#include "runtime/context.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cfenv>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "runtime/flush_denormals.h"
#include "runtime/halide_runtime.h"
#include "runtime/ops/gemm.h"
#include "runtime/ops/scan.h"
#include "runtime/profile.h"
#include "runtime/scratch.h"
#include "runtime/thread_pool.h"
#include "runtime/threads.h"
#include "tests/common/executor_test.h"
#include "tests/common/kernel_test.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
// The tests here run out of memory on purpose.
extern "C" const char* __asan_default_options() { return "allocator_may_return_null=1"; }
extern "C" const char* __tsan_default_options() { return "allocator_may_return_null=1"; }
#endif

namespace mmrec {
namespace {

struct ContextLoops : test::ExecutorTest {};
struct OutOfMemory : test::ExecutorTest {};
struct FloatingPointMode : test::ExecutorTest {};
RUN_ON_EVERY_EXECUTOR(ContextLoops);
RUN_ON_EVERY_EXECUTOR(OutOfMemory);
RUN_ON_EVERY_EXECUTOR(FloatingPointMode);

TEST(Context, InnermostUseIsCurrent) {
  Context& of_programs = Context::current();
  Context first, second;
  {
    const Context::Use outer(first);
    EXPECT_EQ(&Context::current(), &first);
    {
      const Context::Use inner(second);
      EXPECT_EQ(&Context::current(), &second);
    }
    EXPECT_EQ(&Context::current(), &first);
    std::thread([&] {
      EXPECT_EQ(&Context::current(), &of_programs) << "a thread begins with the default one";
    }).join();
  }
  EXPECT_EQ(&Context::current(), &of_programs);
}

EXECUTOR_TEST(ContextLoops, TasksRunInTheContextOfTheirLoop) {
  Context context;
  const Context::Use use(context);
  set_num_threads(3);
  std::atomic<int> others{0};
  parallel_for(1000, [&](int) { others += &Context::current() != &context; });
  EXPECT_EQ(others, 0);
}

EXECUTOR_TEST(ContextLoops, ThreadsAreNotShared) {
  const int before = num_threads();
  Context context;
  {
    const Context::Use use(context);
    set_num_threads(before + 2);
    EXPECT_EQ(num_threads(), before + 2);
  }
  EXPECT_EQ(num_threads(), before);
}

/// Each task waits for the other loop's tasks to start: both loops have two threads at the same
/// time.
EXECUTOR_TEST(ContextLoops, LoopsOfTwoContextLoopsRunConcurrently) {
  std::atomic<int> arrived{0};
  const auto loop = [&] {
    Context context;
    const Context::Use use(context);
    set_num_threads(2);
    parallel_for(2, [&](int) {
      ++arrived;
      const auto patience = std::chrono::steady_clock::now() + std::chrono::seconds(20);
      while (arrived < 4 && std::chrono::steady_clock::now() < patience) std::this_thread::yield();
      EXPECT_EQ(arrived, 4);
    });
  };
  std::thread other(loop);
  loop();
  other.join();
}

EXECUTOR_TEST(ContextLoops, TaskOfAnotherContextUsesThisContextLoopsThreads) {
  Context outer, inner;
  const Context::Use use(outer);
  set_num_threads(2);
  std::atomic<int> arrived{0};
  parallel_for(2, [&](int task) {
    if (task == 1) return;
    const Context::Use within(inner);
    set_num_threads(2);
    parallel_for(2, [&](int) {
      ++arrived;
      const auto patience = std::chrono::steady_clock::now() + std::chrono::seconds(20);
      while (arrived < 2 && std::chrono::steady_clock::now() < patience) std::this_thread::yield();
      EXPECT_EQ(arrived, 2);
      // outer's pool is in use: by this thread, or by the one that waits for it
      const Context::Use again(outer);
      int visits = 0;
      parallel_for(10, [&](int) { ++visits; });
      EXPECT_EQ(visits, 10);
    });
  });
}

EXECUTOR_TEST(ContextLoops, ServesSeveralThreadsAtOnce) {
  Context context;
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller)
    callers.emplace_back([&] {
      const Context::Use use(context);
      for (int i = 0; i < 200; ++i) {
        std::vector<std::atomic<int>> visits(50);
        parallel_for(50, [&](int i) { ++visits[i]; });
        for (const std::atomic<int>& count : visits) ASSERT_EQ(count, 1);
      }
    });
  for (std::thread& caller : callers) caller.join();
}

// ------------------------------------------------------------------------------ what is not shared

/// Returns the variant that serves a scan_forward, from the profile of the current context.
std::string variant_that_runs() {
  Random random;
  const GuardedTensor x = random.input({1, 4, 16}, 0.5f, 1), y = output({1, 4, 16});
  reset_profile();
  set_profiling(true);
  ops::scan_forward(x, y);
  set_profiling(false);
  return profile_rows().at(0).variant;
}

TEST(Context, ForcedKernelsAreNotShared) {
  const std::string first = variant_names("scan", "forward").front(),
                    last = variant_names("scan", "forward").back();
  KernelEntry candidate =
      *std::ranges::find(kernels(), std::string_view("scan_serial_forward"), &KernelEntry::name);
  candidate.variant = "candidate";
  Context one, another;
  const Context::Use use(one);
  const ScopedVariant forced("scan", last);
  const auto elsewhere = [&](const std::string& want) {
    const Context::Use use(another);
    EXPECT_EQ(variant_that_runs(), want);
  };
  EXPECT_EQ(variant_that_runs(), last);
  elsewhere(first);
  EXPECT_EQ(variant_that_runs(), last) << "what this thread remembers is each context's own";
  {
    const ScopedKernel kernel(candidate);
    EXPECT_EQ(variant_that_runs(), "candidate");
    elsewhere(first);
    std::thread([&] { elsewhere(first); }).join();
    std::thread([&] {
      const Context::Use use(one);
      EXPECT_EQ(variant_that_runs(), "candidate") << "on whichever thread";
    }).join();
  }
  EXPECT_EQ(variant_that_runs(), last);
}

TEST(Context, ProfileIsNotShared) {
  Context profiled, other;
  Random random;
  const GuardedTensor x = random.input({1, 4, 16}, 0.5f, 1), y = output({1, 4, 16});
  const Context::Use use(profiled);
  set_profiling(true);
  {
    const Context::Use use(other);
    EXPECT_FALSE(profiling());
    ops::scan_forward(x, y);
    EXPECT_TRUE(profile_rows().empty());
  }
  EXPECT_TRUE(profile_rows().empty());
  ops::scan_forward(x, y);
  EXPECT_EQ(profile_rows().size(), 1u);
}

TEST(Context, ErrorIsNotShared) {
  install_halide_runtime();
  Context one, another;
  const Context::Use use(one);
  halide_error(nullptr, "of one");
  {
    const Context::Use use(another);
    EXPECT_EQ(last_halide_error(), "");
    halide_error(nullptr, "of another");
  }
  EXPECT_EQ(last_halide_error(), "of one");
}

TEST(Context, ScratchReturnsToItsContext) {
  Context one, another;
  const Context::Use use(one);
  auto scratch = std::make_unique<Scratch>(1000);
  {
    const Context::Use use(another);
    scratch.reset();
    EXPECT_EQ(scratch_system_allocations(), 0);
  }
  const Scratch again(1000);
  EXPECT_EQ(scratch_system_allocations(), 1);
}

EXECUTOR_TEST(ContextLoops, InterruptionStopsOneThreadOnly) {
  std::atomic<int> asked{1}, begun{0}, visits{0};
  const auto run = [&](bool interruptible) {
    Context context;
    const Context::Use use(context);
    set_num_threads(2);
    std::optional<Interruptible> giving_up;
    if (interruptible) giving_up.emplace(asked);
    ++begun;
    while (begun < 2) std::this_thread::yield();
    for (int i = 0; i < 100; ++i) {
      if (interruptible)
        EXPECT_THROW(parallel_for(100, [&](int) { ADD_FAILURE(); }), Interrupted);
      else
        parallel_for(100, [&](int) { ++visits; });
    }
  };
  std::thread other(run, true);
  run(false);
  other.join();
  EXPECT_EQ(visits, 100 * 100);
}

// A destroyed Kernel leaves no cached choice: another Kernel at the same address makes its own.
TEST(Context, DestroyedKernelLeavesNoCachedChoice) {
  Random random;
  const GuardedTensor x = random.input({4, 16}, 0.5f, 1), sum = output({16}),
                      scanned = output({1, 4, 16});
  std::optional<Kernel> kernel(std::in_place, "column_sum", "forward");
  (*kernel)({.sizes = {4, 16}}, x.view(), sum.view());
  const Kernel* const place = &*kernel;
  kernel.reset();
  force_variant("column_sum", "");
  kernel.emplace("scan", "forward");
  ASSERT_EQ(&*kernel, place);
  expect_error([&] { (*kernel)({.sizes = {4, 16}}, x.view(), sum.view()); }, {"scan.forward"});
}

// ------------------------------------------------------------------------- the floating-point mode

bool denormals_are_flushed() {
  volatile float smallest = FLT_MIN;
  const float half = smallest * 0.5f;
  return half == 0;
}

EXECUTOR_TEST(FloatingPointMode, IsRestoredWhenACallReturns) {
  Random random;
  const GuardedTensor x = random.input({1, 4, 16}, 0.5f, 1), y = output({1, 4, 16});
  for (const int threads : {1, 2}) {
    const ScopedThreads scoped(threads);
    ASSERT_FALSE(denormals_are_flushed());
    std::atomic<int> kept{0};
    parallel_for(10, [&](int) { kept += !denormals_are_flushed(); });
    EXPECT_EQ(kept, 0);
    EXPECT_FALSE(denormals_are_flushed());
    ops::scan_forward(x, y);
    EXPECT_FALSE(denormals_are_flushed());
    EXPECT_THROW(parallel_for(1, [](int) { throw std::out_of_range(""); }), std::out_of_range);
    EXPECT_FALSE(denormals_are_flushed());
  }
  const FlushDenormals by_the_caller;
  ops::scan_forward(x, y);
  parallel_for(10, [](int) {});
  EXPECT_TRUE(denormals_are_flushed()) << "what the caller has set stays too";
}

EXECUTOR_TEST(FloatingPointMode, RoundingAndFlagsAreKept) {
  Random random;
  const GuardedTensor x = random.input({1, 4, 16}, 0.5f, 1), y = output({1, 4, 16});
  ASSERT_EQ(std::fesetround(FE_UPWARD), 0);
  ops::scan_forward(x, y);
  EXPECT_EQ(std::fegetround(), FE_UPWARD);
  std::fesetround(FE_TONEAREST);
}

// A kernel flushes on the thread that calls it, even if it has no parallel loop.
EXECUTOR_TEST(FloatingPointMode, IsSetWhileAKernelRuns) {
  static bool flushed;
  KernelEntry candidate =
      *std::ranges::find(kernels(), std::string_view("scan_serial_forward"), &KernelEntry::name);
  candidate.call = [](void**) {
    flushed = denormals_are_flushed();
    return 0;
  };
  const ScopedKernel forced(candidate);
  Random random;
  const GuardedTensor x = random.input({1, 4, 16}, 0.5f, 1), y = output({1, 4, 16});
  for (int i = 0; i < 2; ++i) {
    flushed = false;
    ops::scan_forward(x, y);
    EXPECT_TRUE(flushed);
    flushed = false;
    std::thread([&] { ops::scan_forward(x, y); }).join();
    EXPECT_TRUE(flushed);
  }
}

// ----------------------------------------------------------------------------------- out of memory

/// Returns 0 if holds() is true in a forked copy of this process.
int in_a_child(const std::function<bool()>& holds) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(holds() ? 0 : 1);
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/// Limits the growth of this process's address space. Negative: unlimited.
void limit_growth(int64_t bytes) {
  int64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  rlimit limit{};
  ::getrlimit(RLIMIT_AS, &limit);
  limit.rlim_cur =
      bytes < 0 ? limit.rlim_max : static_cast<rlim_t>(pages * ::sysconf(_SC_PAGESIZE) + bytes);
  ::setrlimit(RLIMIT_AS, &limit);
}

/// Products that need 64 MiB of packed weights and more, at once or in tasks.
void out_of_memory_is_an_exception(const std::string& variant, int threads) {
  EXPECT_EQ(in_a_child([&] {
              Context context;
              const Context::Use use(context);
              set_num_threads(threads);
              start_threads();
              constexpr int M = 64, N = 4096, K = 4096;
              const std::vector<float> a(M * K, 1.f), b(N * K, 0.5f);
              std::vector<float> c(M * N);
              const Tensor left(const_cast<float*>(a.data()), {M, K}),
                  right(const_cast<float*>(b.data()), {N, K}), product(c.data(), {M, N});
              const ScopedVariant forced("gemm", variant);
              limit_growth(8 << 20);
              for (int i = 0; i < 3; ++i) {
                bool thrown = false;
                try {
                  ops::gemm_nt(left, right, product);
                } catch (const Error& error) {
                  thrown = std::string_view(error.what()).find("out of memory") !=
                               std::string_view::npos &&
                           std::string_view(error.what()).find("MiB") != std::string_view::npos;
                }
                if (!thrown) return false;
                // Another call succeeds with the memory that is left.
                ops::gemm_nt(left.columns(0, 16), right.rows(0, 64).columns(0, 16),
                             product.columns(0, 64));
                if (c[0] != 8) return false;
              }
              limit_growth(-1);
              ops::gemm_nt(left, right, product);
              return std::ranges::all_of(c, [](float value) { return value == K / 2; });
            }),
            0)
      << variant << ", " << threads << " threads";
}

EXECUTOR_TEST(OutOfMemory, IsAnExceptionOfTheOperation) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizer has an address space of its own";
#endif
  for (const int threads : {1, 2}) out_of_memory_is_an_exception("packed", threads);
}

/// All threads hold a block at the same time, and give it back and take one in any order.
TEST(Scratch, TaskHasTheBlockThatItsThreadUsedLast) {
  Context context;
  const Context::Use use(context);
  constexpr int kThreads = 2, kLoops = 200;
  set_num_threads(kThreads);
  std::mutex mutex;
  std::map<std::thread::id, std::set<const void*>> blocks;
  std::atomic<int> taken = 0;
  for (int i = 1; i <= kLoops; ++i)
    parallel_for(kThreads, [&](int) {
      const Scratch scratch(300'000);
      {
        std::lock_guard lock(mutex);
        blocks[std::this_thread::get_id()].insert(scratch.data<float>());
      }
      for (++taken; taken < kThreads * i;) std::this_thread::yield();
    });
  for (const auto& [thread, its_blocks] : blocks) EXPECT_EQ(its_blocks.size(), 1);
}

/// In tasks too, also when a call already holds a block, whatever the kernel does with it.
EXECUTOR_TEST(OutOfMemory, EndsTheTaskAndTheCall) {
  constexpr size_t kTooMuch = size_t{1} << 60;
  static std::atomic<bool> went_on;
  KernelEntry candidate =
      *std::ranges::find(kernels(), std::string_view("scan_serial_forward"), &KernelEntry::name);
  candidate.call = [](void**) {
    halide_malloc(nullptr, 100'000);
    const auto task = [](void*, int i, uint8_t*) {
      void* const some = halide_malloc(nullptr, 200'000);
      if (i == 5) halide_malloc(nullptr, kTooMuch);
      halide_free(nullptr, some);
      return 0;
    };
    halide_do_par_for(nullptr, task, 0, 10, nullptr);
    went_on = true;
    return 0;
  };
  Random random;
  const GuardedTensor x = random.input({1, 4, 16}, 0.5f, 1), y = output({1, 4, 16});
  for (const int threads : {1, 2}) {
    Context context;
    const Context::Use use(context);
    set_num_threads(threads);
    const ScopedKernel forced(candidate);
    went_on = false;
    int64_t allocations = 0;
    for (int i = 0; i < 10; ++i) {
      expect_error([&] { ops::scan_forward(x, y); },
                   {"scan.forward", "out of memory", "1099511627776.0 MiB"});
      EXPECT_FALSE(went_on);
      const Scratch first(100'000), second(200'000);
      // The blocks that the call held are back. The first two calls have taken the tasks' blocks;
      // all other blocks were released.
      EXPECT_LE(scratch_system_allocations() - allocations, i > 0 ? 12 : 1000);
      allocations = scratch_system_allocations();
    }
  }
}

EXECUTOR_TEST(OutOfMemory, OfScratchIsAnException) {
  expect_error([] { Scratch(size_t{1} << 60); }, {"out of memory", "1099511627776.0 MiB"});
}

}  // namespace
}  // namespace mmrec
