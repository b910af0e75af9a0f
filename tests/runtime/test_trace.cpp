#include "runtime/trace.h"

#include <atomic>
#include <chrono>
#include <optional>
#include <thread>
#include <vector>

#include "runtime/ops/gemm.h"
#include "runtime/profile.h"
#include "tests/common/executor_test.h"
#include "tests/common/kernel_test.h"
#include "tests/common/trace_file.h"

namespace mmrec {
namespace {

using std::chrono::milliseconds;
using test::Span;
using test::TraceFile;

/// A product of several tasks.
class Product {
 public:
  void run() {
    ops::gemm_nt(Tensor(a_.data(), {256, 64}), Tensor(b_.data(), {96, 64}),
                 Tensor(c_.data(), {256, 96}));
  }

 private:
  std::vector<float> a_ = std::vector<float>(256 * 64), b_ = std::vector<float>(96 * 64),
                     c_ = std::vector<float>(256 * 96);
};

using TraceTest = test::ExecutorTest;

EXECUTOR_TEST(TraceTest, ShowsPartsAndWaitsOfAHostLoop) {
  const ScopedThreads threads(2);
  std::atomic<int> started{0};
  Trace trace;
  parallel_for(2, [&](int i) {
    ++started;
    while (started < 2) std::this_thread::yield();  // a thread each
    std::this_thread::sleep_for(milliseconds(i == 0 ? 0 : 20));
  });
  std::this_thread::sleep_for(milliseconds(5));  // the worker is idle
  const TraceFile file(trace.json("loop"));
  file.expect_consistent();
  EXPECT_EQ(file.of("step").at(0).name, "loop");
  ASSERT_EQ(file.names.size(), 2);
  for (const bool main : {true, false}) {
    const std::vector<Span> parts = file.of("part", {main});
    ASSERT_EQ(parts.size(), 1);
    EXPECT_EQ(parts[0].name, "part of a loop");
    EXPECT_EQ(parts[0].args.at("tasks"), 1);
    EXPECT_EQ(parts[0].args.at("all_tasks"), 2);
  }
  const auto longest = [&](const char* category, bool main) {
    int64_t most = 0;
    for (const Span& span : file.of(category, {main})) most = std::max(most, span.time());
    return most;
  };
  EXPECT_GE(longest("part", true) + longest("wait", true), 20'000'000);
  EXPECT_GE(longest("idle", false), 5'000'000);
  if (file.of("part", {true})[0].args.at("first_task") == 0) {
    EXPECT_GE(longest("wait", true), 5'000'000) << "the caller's task is the short one";
  }
}

EXECUTOR_TEST(TraceTest, ShowsWhichPartOfAKernelRanOnWhichThread) {
  const ScopedThreads threads(3);
  Product product;
  product.run();
  reset_profile();
  set_profiling(true);
  Trace trace;
  for (int i = 0; i < 20; ++i) product.run();
  const TraceFile file(trace.json("products"));
  set_profiling(false);
  file.expect_consistent();
  const std::vector<Span> kernels = file.of("kernel");
  const std::vector<ProfileRow> rows = profile_rows();
  ASSERT_EQ(rows.size(), 1);
  ASSERT_EQ(kernels.size(), 20);
  int64_t time = 0;
  for (const Span& kernel : kernels) {
    time += kernel.time();
    EXPECT_EQ(kernel.name, kernel_label("gemm", "nt", "f32", rows[0].variant));
    EXPECT_EQ(kernel.args.at("sizes"), nlohmann::json({{"M", 256}, {"N", 96}, {"K", 64}}));
    EXPECT_EQ(kernel.args.at("variant"), rows[0].variant);
    EXPECT_EQ(kernel.args.at("flops"), 2. * 256 * 96 * 64);
    EXPECT_NEAR(kernel.args.at("GFLOP/s"), 2. * 256 * 96 * 64 / kernel.time(),
                0.01 * 2. * 256 * 96 * 64 / kernel.time());
  }
  EXPECT_NEAR(1e-9 * static_cast<double>(time), rows[0].call_seconds, 1e-7);
  int tasks = 0, loops = 0;  // of all threads; each loop has a part on the calling thread
  for (const Span& part : file.of("part")) tasks += part.args.at("tasks").get<int>();
  for (const Span& part : file.of("part", {true})) {
    EXPECT_EQ(part.name, "part of " + kernels[0].name);
    loops += part.args.at("all_tasks").get<int>();
  }
  EXPECT_GT(tasks, 0);
  EXPECT_GE(tasks, loops) << "a loop without a part here was done by the workers";
}

EXECUTOR_TEST(TraceTest, ShowsThreadsThatGotNoWork) {
  const ScopedThreads threads(3);
  start_threads();
  Trace trace;
  std::this_thread::sleep_for(milliseconds(1));
  const TraceFile file(trace.json("nothing"));
  file.expect_consistent();
  EXPECT_EQ(file.names.size(), 3);
  EXPECT_EQ(file.of("idle").size(), 2);
}

EXECUTOR_TEST(TraceTest, RecordsOnlyWhileItLives) {
  const ScopedThreads threads(2);
  Product product;
  reset_profile();
  std::optional<Trace> before(std::in_place);
  before.reset();
  product.run();
  EXPECT_TRUE(TraceFile(Trace().json("nothing")).of("kernel").empty());
  EXPECT_TRUE(profile_rows().empty()) << "a trace is not a profile";
  Trace trace;
  product.run();
  EXPECT_EQ(TraceFile(trace.json("one")).of("kernel").size(), 1);
  product.run();
  EXPECT_TRUE(TraceFile(trace.json("ended")).of("kernel").empty());
  EXPECT_TRUE(profile_rows().empty());
}

RUN_ON_EVERY_EXECUTOR(TraceTest);

}  // namespace
}  // namespace mmrec
