#include <cstdlib>

#include "runtime/ops/scan.h"
#include "runtime/profile.h"
#include "tests/kernel_test.h"

namespace mmrec {
namespace {

/// The variant that served the last scan_forward, as the profile saw it.
std::string variant_that_runs() {
  Random random;
  const GuardedTensor x = random.input({1, 4, 16}, 0.5f, 1), y = output({1, 4, 16});
  reset_profile();
  set_profiling(true);
  ops::scan_forward(x, y);
  set_profiling(false);
  const std::vector<ProfileRow> rows = profile_rows();
  EXPECT_EQ(rows.size(), 1u);
  if (rows.size() != 1) return "";
  EXPECT_EQ(rows[0].op + " " + rows[0].pass, "scan forward");
  EXPECT_EQ(rows[0].calls, 1);
  return rows[0].variant;
}

TEST(Registry, EveryOperationHasAVariant) {
  EXPECT_FALSE(operations().empty());
  for (const std::string& op : operations()) EXPECT_FALSE(all_variants(op).empty()) << op;
  for (const KernelEntry& entry : kernels()) {
    const std::vector<std::string> listed = variants(entry.op, entry.pass);
    EXPECT_EQ(std::count(listed.begin(), listed.end(), entry.variant), 1) << entry.op << " " << entry.pass << " " << entry.variant;
    ASSERT_NE(entry.metadata(), nullptr);
    EXPECT_GT(entry.metadata()->num_arguments, 0) << entry.op << " " << entry.pass << " " << entry.variant;
  }
  EXPECT_GE(variants("scan", "forward").size(), 2u) << "the comparison with the log-space baseline needs both";
  EXPECT_TRUE(variants("scan", "sideways").empty());
}

TEST(Registry, ForcedVariantRuns) {
  const std::vector<std::string> names = variants("scan", "forward");
  for (const std::string& name : names) {
    const ScopedVariant forced("scan", name);
    EXPECT_EQ(variant_that_runs(), name);
  }
  EXPECT_EQ(variant_that_runs(), names.front()) << "the default is not back";
  force_variant("scan", names.back());
  force_variant("scan", names.front());
  EXPECT_EQ(variant_that_runs(), names.front());
  force_variant("scan", "");
}

TEST(Registry, UnknownNamesListWhatThereIs) {
  for (const std::string& op : operations()) expect_error<UsageError>({"no_such_op", op}, [] { force_variant("no_such_op", "serial"); });
  for (const std::string& variant : all_variants("scan"))
    expect_error<UsageError>({"no_such_variant", variant}, [] { force_variant("scan", "no_such_variant"); });
  EXPECT_EQ(variant_that_runs(), variants("scan", "forward").front()) << "a refused name changed the choice";
}

// The environment is read at start: a death test of the "threadsafe" style starts the program anew.
TEST(RegistryDeathTest, ForceFromTheEnvironment) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const std::string last = variants("scan", "forward").back();
  setenv("MMREC_FORCE", fmt::format("gemm:{},scan:{}", all_variants("gemm").front(), last).c_str(), 1);
  EXPECT_EXIT(std::exit(variant_that_runs() == last ? 0 : 1), testing::ExitedWithCode(0), "");
  unsetenv("MMREC_FORCE");
}

// A kernel called with other arguments than its generator declares would read its stack as buffers.
TEST(Registry, WrongArgumentsAreRefused) {
  Random random;
  const GuardedTensor x = random.input({1, 4, 16}, 0.5f, 1), y = output({1, 4, 16});
  const GuardedIds ids = random.ids(4, 10);
  static Kernel too_few("scan", "forward"), wrong_type("scan", "forward"), scalar_for_buffer("scan", "forward");
  expect_error({"scan"}, [&] { too_few(Work{}, x.view()); });
  expect_error({"scan"}, [&] { wrong_type(Work{}, ids.view(), y.view()); });
  expect_error({"scan"}, [&] { scalar_for_buffer(Work{}, x.view(), 1.f); });
}

}  // namespace
}  // namespace mmrec
