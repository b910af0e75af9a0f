#include <chrono>
#include <thread>

#include "runtime/profile.h"
#include "runtime/profile_table.h"
#include "tests/common/kernel_test.h"

namespace mmrec {
namespace {

void wait() { std::this_thread::sleep_for(std::chrono::milliseconds(2)); }

const ProfileRow& row_of(const std::vector<ProfileRow>& rows, const KernelEntry& kernel) {
  const auto row = std::ranges::find(rows, kernel.pass, &ProfileRow::pass);
  EXPECT_NE(row, rows.end());
  return *row;
}

/// A call that runs beside another for a while, then alone.
TEST(Profile, DividesTheTimeOfConcurrentCalls) {
  static KernelEntry longer = kernels().front(), shorter = longer;
  longer.pass = "longer", shorter.pass = "shorter";
  reset_profile();
  set_profiling(true);
  {
    const CallInfo info{.flops = 100};
    const ProfiledCall first(longer, info);
    wait();
    {
      const ProfiledCall second(shorter, info);
      wait();
    }
    wait();
  }
  set_profiling(false);
  const std::vector<ProfileRow> rows = profile_rows();
  ASSERT_EQ(rows.size(), 2);
  const ProfileRow &first = row_of(rows, longer), &second = row_of(rows, shorter);
  EXPECT_GE(second.call_seconds, 0.002);
  EXPECT_GE(first.call_seconds, second.call_seconds + 0.004);
  EXPECT_NEAR(second.seconds, second.call_seconds / 2, 1e-9);
  EXPECT_NEAR(first.seconds + second.seconds, first.call_seconds, 1e-9)
      << "the rows' sum is wall time";
  const std::string table = profile_table(first.call_seconds);
  EXPECT_NE(table.find("overlap by"), table.npos);
  EXPECT_NE(table.find(" 0.0%\nall "), table.npos)
      << "nothing is left for what is no kernel: " << table;
}

// Kernels of one pass for two element types differ in nothing else.
TEST(Profile, TellsElementTypesApart) {
  static KernelEntry bf16 = kernels().front();
  bf16.dtype = "bf16";
  reset_profile();
  set_profiling(true);
  const CallInfo info{};
  { const ProfiledCall call(kernels().front(), info); }
  { const ProfiledCall call(bf16, info); }
  set_profiling(false);
  EXPECT_EQ(profile_rows().size(), 2);
  const std::string name = fmt::format("{}.{}", bf16.op, bf16.pass), table = profile_table(1);
  EXPECT_NE(table.find(fmt::format("{} ({})", name, bf16.variant)), table.npos) << table;
  EXPECT_NE(table.find(fmt::format("{} bf16 ({})", name, bf16.variant)), table.npos) << table;
}

TEST(Profile, RecordsNothingWhenOff) {
  reset_profile();
  const CallInfo info{.flops = 100};
  { const ProfiledCall call(kernels().front(), info); }
  EXPECT_TRUE(profile_rows().empty());
  EXPECT_EQ(profile_table(1).find("overlap"), std::string::npos);
}

}  // namespace
}  // namespace mmrec
