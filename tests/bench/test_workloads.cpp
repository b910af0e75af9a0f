#include "bench/workloads/workloads.h"

#include <algorithm>
#include <ostream>

#include "generators/registry/registry.h"
#include "runtime/profile.h"
#include "tests/common/kernel_test.h"

namespace mmrec::bench {
namespace {

struct Tested {
  std::string op, pass, dtype;
  /// for failure messages
  friend void PrintTo(const Tested& tested, std::ostream* out) {
    *out << tested.op << "." << tested.pass << " " << tested.dtype;
  }
};

std::vector<Tested> passes() {
  std::vector<Tested> all;
  for (const registry::Operation& operation : registry::operations())
    for (const std::string& pass : operation.passes)
      for (const Precision precision : precisions())
        if (const char* dtype = dtype_of(precision);
            !variant_names(operation.name, pass, dtype).empty())
          all.push_back({operation.name, pass, dtype});
  return all;
}

using Bytes = std::vector<std::byte>;

Bytes bytes_of(const Prepared& call) { return {call.memory().begin(), call.memory().end()}; }

/// Describes where two states of a call's memory differ; "" if they are equal.
std::string difference(const Prepared& call, const Bytes& a, const Bytes& b) {
  const auto at = std::mismatch(a.begin(), a.end(), b.begin()).first - a.begin();
  if (at == std::ssize(a)) return "";
  const auto* const byte = call.memory().data() + at;
  std::string text = fmt::format("byte {} of {}", at, a.size());
  for (size_t i = 0; i < call.arrays().size(); ++i)
    if (const auto* const begin = call.arrays()[i].visit(
            [](const auto& view) { return reinterpret_cast<const std::byte*>(view.data()); });
        begin <= byte)
      text = fmt::format("byte {} of the array {} {}", byte - begin, i,
                         call.arrays()[i].shape_string());
  return text;
}

/// Returns the memory after a call if the call only writes the expected results: `before`, with
/// these results in place.
Bytes with_results(const Prepared& call, const Bytes& before,
                   const std::vector<Expected>& results) {
  Bytes bytes = before;
  for (const Expected& result : results)
    result.array.visit([&](const auto& view) {
      for (int64_t i = 0; i < view.count(); ++i) {
        const auto* const value = &reference::element(view, i);
        const auto* const first = reinterpret_cast<const std::byte*>(value);
        std::copy_n(first, sizeof *value, bytes.begin() + (first - call.memory().data()));
      }
    });
  return bytes;
}

void check(const Tested& tested, const std::vector<int>& sizes) {
  constexpr uint64_t kSeed = 1;
  constexpr int kGuard = 64;
  SCOPED_TRACE(fmt::format("sizes {}", fmt::join(sizes, "x")));
  const Workload work = workload_of(tested.op, tested.pass, sizes, tested.dtype);
  EXPECT_EQ(work.op, tested.op);
  EXPECT_EQ(work.pass.registry, tested.pass);
  const Prepared call(work, kSeed, Caches::kWarm, kGuard);
  const std::vector<Expected> results = call.expect();
  const Bytes before = bytes_of(call);
  for_each_variant(
      tested.op, tested.pass,
      [&] {
        Bytes of_one_thread;
        for (const int threads : {1, 2, 3}) {
          std::ranges::copy(before, call.memory().begin());
          const ScopedThreads scoped(threads);
          call();
          if (threads > 1) {
            EXPECT_EQ(difference(call, of_one_thread, bytes_of(call)), "")
                << current_variant_string() << ": " << threads
                << " threads leave other bits than one";
            continue;
          }
          for (const Expected& result : results)
            expect_close(result.name, result.array, result.want);
          of_one_thread = bytes_of(call);
          EXPECT_EQ(difference(call, with_results(call, before, results), of_one_thread), "")
              << current_variant_string() << " wrote outside its results";
        }
      },
      tested.dtype);
}

/// Parametrised over all passes of the registry.
class Workloads : public testing::TestWithParam<Tested> {};

TEST_P(Workloads, MatchTheReference) {
  const auto& [op, pass, dtype] = GetParam();
  reset_profile();
  set_profiling(true);
  for (const std::vector<int>& sizes : description_of(op).tested) check(GetParam(), sizes);
  set_profiling(false);
  const std::vector<ProfileRow> rows = profile_rows();
  EXPECT_TRUE(std::ranges::any_of(rows,
                                  [&](const ProfileRow& row) {
                                    return row.op == op && row.pass == pass && row.dtype == dtype;
                                  }))
      << "no call of the description is one of " << op << "." << pass;
}

// The benchmark's rates and the profile's shares of the peak must mean the same work.
TEST_P(Workloads, CountTheOperationsOfTheTypedFunction) {
  const auto& [op, pass, dtype] = GetParam();
  for (const std::vector<int>& sizes : description_of(op).tested) {
    const Workload work = workload_of(op, pass, sizes, dtype);
    const int guard = 1;  // then there is memory, even for no elements
    const Prepared call(work, 1, Caches::kWarm, guard);
    reset_profile();
    set_profiling(true);
    call();
    set_profiling(false);
    double flops = 0;  // of all passes that the call takes
    for (const ProfileRow& row : profile_rows())
      if (row.op == op) flops += row.flops;
    EXPECT_DOUBLE_EQ(flops, work.flops) << fmt::format("sizes {}", fmt::join(sizes, "x"));
  }
}

INSTANTIATE_TEST_SUITE_P(Registry, Workloads, testing::ValuesIn(passes()),
                         [](const testing::TestParamInfo<Tested>& info) {
                           return info.param.op + "_" + info.param.pass + "_" + info.param.dtype;
                         });

}  // namespace
}  // namespace mmrec::bench
