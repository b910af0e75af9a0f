#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <ostream>
#include <string>
#include <vector>

#include "runtime/threads.h"

namespace mmrec::test {

/// Where a test's loops run.
struct Place {
  std::string executor;
  bool in_region;  ///< inside run_with_threads()

  std::string name() const { return executor + (in_region ? "_in_region" : ""); }
  friend void PrintTo(const Place& place, std::ostream* out) { *out << place.name(); }
};

/// Every executor of this build; those of OpenMP also inside a region.
inline std::vector<Place> places() {
  std::vector<Place> places;
  for (const std::string& executor : executor_names()) {
    places.push_back({executor, false});
    if (executor == "openmp") places.push_back({executor, true});
  }
  return places;
}

/// For tests of threads, which run in each place:
///
///     using ParallelFor = test::ExecutorTest;
///     EXECUTOR_TEST(ParallelFor, EveryIndexOnce) { .. }
///
/// The default context and those that the test makes have the place's executor.
class ExecutorTest : public testing::TestWithParam<Place> {
 protected:
  ExecutorTest() : before_(executor_name()) {
    ::setenv("MMREC_EXECUTOR", GetParam().executor.c_str(), 1);
    set_executor(GetParam().executor);
  }
  ~ExecutorTest() override {
    ::unsetenv("MMREC_EXECUTOR");
    set_executor(before_);
  }

  void run(void (*body)()) const {
    if (!GetParam().in_region) return body();
    constexpr int kTeam = 4;  // more than any test asks for
    const int before = num_threads();
    set_num_threads(kTeam);
    run_with_threads([&] {
      set_num_threads(before);
      body();
    });
  }

 private:
  std::string before_;
};

#define EXECUTOR_TEST(suite, name)                \
  static void suite##name##Body();                \
  TEST_P(suite, name) { run(suite##name##Body); } \
  static void suite##name##Body()

#define RUN_ON_EVERY_EXECUTOR(suite)                                     \
  INSTANTIATE_TEST_SUITE_P(On, suite, testing::ValuesIn(test::places()), \
                           [](const auto& info) { return info.param.name(); })

}  // namespace mmrec::test
