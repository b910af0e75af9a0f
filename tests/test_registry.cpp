#include <array>
#include <cstdlib>

#include "runtime/ops/scan.h"
#include "runtime/profile.h"
#include "tests/kernel_test.h"

namespace mmrec {
namespace {

/// The variant that serves a scan_forward of [R][T][D], as the profile sees it.
std::string variant_that_runs(int R = 1, int T = 4, int D = 16) {
  Random random;
  const GuardedTensor x = random.input({R, T, D}, 0.5f, 1), y = output({R, T, D});
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

// The first variant whose condition holds for the sizes serves, else the default; a forced one whatever the sizes.
TEST(Registry, ConditionsChooseBySize) {
  for (const auto& [R, T, D] : {std::array{1, 1, 1}, {1, 4, 16}, {1, 3, 1000}, {40, 4, 8}, {1, 40000, 8}, {1, 70000, 1}, {2, 40000, 40}}) {
    std::string expected;
    for (const KernelEntry& entry : kernels()) {
      if (std::string_view(entry.op) != "scan" || std::string_view(entry.pass) != "forward") continue;
      const int sizes[] = {R, T, D};
      if (entry.serves && entry.serves(sizes)) {
        expected = entry.variant;
        break;
      }
      if (expected.empty()) expected = entry.variant;
    }
    EXPECT_EQ(variant_that_runs(R, T, D), expected) << R << " x " << T << " x " << D;
    for (const std::string& name : variants("scan", "forward")) {
      const ScopedVariant forced("scan", name);
      EXPECT_EQ(variant_that_runs(R, T, D), name) << R << " x " << T << " x " << D;
    }
  }
}

TEST(Registry, UnknownNamesListWhatThereIs) {
  for (const std::string& op : operations()) expect_error<UsageError>([] { force_variant("no_such_op", "serial"); }, {"no_such_op", op});
  for (const std::string& variant : all_variants("scan"))
    expect_error<UsageError>([] { force_variant("scan", "no_such_variant"); }, {"no_such_variant", variant});
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
  const Work work{.sizes = {1, 4, 16}};
  static Kernel too_few("scan", "forward"), wrong_type("scan", "forward"), scalar_for_buffer("scan", "forward"), no_sizes("scan", "forward");
  expect_error([&] { too_few(work, x.view()); }, {"scan"});
  expect_error([&] { wrong_type(work, ids.view(), y.view()); }, {"scan"});
  expect_error([&] { scalar_for_buffer(work, x.view(), 1.f); }, {"scan"});
  expect_error([&] { no_sizes(Work{}, x.view(), y.view()); }, {"scan", "R T D"});
  expect_error([] { Sizes{1, 2, 3, 4, 5}; }, {"5"});
}

}  // namespace
}  // namespace mmrec
