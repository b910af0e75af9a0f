#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <sstream>

#include "runtime/ops/scan.h"
#include "runtime/profile.h"
#include "tests/common/kernel_test.h"

namespace mmrec {
namespace {

/// Returns the variant that serves a scan_forward of [R][T][D], from the profile.
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
  EXPECT_FALSE(operation_names().empty());
  for (const std::string& op : operation_names())
    EXPECT_TRUE(std::ranges::any_of(kernels(), [&](const auto& entry) { return entry.op == op; }) ||
                (op == "gemm_bf16" && !why_no_bf16().empty()))
        << op;
  for (const KernelEntry& entry : kernels()) {
    const std::vector<std::string> listed = variant_names(entry.op, entry.pass, entry.dtype);
    EXPECT_EQ(std::count(listed.begin(), listed.end(), entry.variant), 1) << entry.name;
    ASSERT_NE(entry.metadata(), nullptr);
    EXPECT_GT(entry.metadata()->num_arguments, 0) << entry.name;
  }
  EXPECT_GE(variant_names("scan", "forward").size(), 2u)
      << "the comparison with the log-space baseline needs both";
  EXPECT_TRUE(variant_names("scan", "sideways").empty());
  EXPECT_TRUE(variant_names("scan", "forward", "bf16").empty());
  expect_error([] { Kernel("scan", "sideways"); }, {"scan.sideways", "f32"});
}

TEST(Registry, ForcedVariantRuns) {
  const std::vector<std::string> names = variant_names("scan", "forward");
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

TEST(Registry, ScopesEndWithWhatWasForcedBefore) {
  const std::string first = variant_names("scan", "forward").front(),
                    last = variant_names("scan", "forward").back();
  {
    const ScopedVariant outer("scan", last);
    {
      const ScopedVariant inner("scan", first);
      EXPECT_EQ(variant_that_runs(), first);
    }
    EXPECT_EQ(variant_that_runs(), last);
  }
  EXPECT_EQ(variant_that_runs(), first);
}

int calls_of_candidate = 0;

// A kernel outside the registry serves while it is forced, even if a variant is forced too and even
// after another such kernel has served.
TEST(Registry, ScopedKernelServes) {
  const auto first = std::ranges::find_if(kernels(), [](const KernelEntry& e) {
    return std::string_view(e.name).starts_with("scan_serial_forward");
  });
  static const KernelEntry* const trusted = &*first;
  KernelEntry candidate = *trusted, second = *trusted;
  candidate.variant = "candidate";
  candidate.call = [](void** arguments) {
    ++calls_of_candidate;
    return trusted->call(arguments);
  };
  second.variant = "second";
  EXPECT_EQ(variant_that_runs(), trusted->variant);
  {
    const ScopedKernel forced(candidate);
    EXPECT_EQ(variant_that_runs(), "candidate");
    EXPECT_EQ(calls_of_candidate, 1);
    const ScopedVariant variant("scan", "logspace");
    EXPECT_EQ(variant_that_runs(), "candidate");
    {
      const ScopedKernel nearer(second);
      EXPECT_EQ(variant_that_runs(), "second");
    }
    EXPECT_EQ(variant_that_runs(), "candidate");
  }
  EXPECT_EQ(variant_that_runs(), trusted->variant);
  candidate.op = "no_such_op";
  expect_error<UsageError>([&] { ScopedKernel{candidate}; }, {"no_such_op"});
}

// ---------------------------------------------------------------------------------- choice by size

/// Registry lines of an operation "op" with the sizes M and N, in order: packed, and two with
/// conditions.
const registry::Variant kPacked{
    "op", "packed", "", "", "f32", registry::kNone, [](const int*) { return true; }};
const registry::Variant kDirect{
    "op", "direct", "", "", "f32", registry::kNone, [](const int* sizes) { return sizes[0] < 8; }};
const registry::Variant kBlocked{
    "op", "blocked", "", "", "f32", registry::kNone, [](const int* sizes) { return sizes[1] < 8; }};

KernelEntry kernel(const char* name, const registry::Variant& line) {
  return {name, "op", "pass", line.name, "f32", "", "", "", &line, nullptr, nullptr};
}

struct Choices {
  std::vector<KernelEntry> kernels;
  std::vector<ScheduleRow> rows;
  std::string operator()(const Sizes& sizes, const char* variant = nullptr) const {
    return KernelChoice("op", "pass", "f32", kernels, rows)(sizes, variant).name;
  }
};

TEST(KernelChoice, WithoutRowsConditionsDecide) {
  Choices choose{{kernel("a", kPacked), kernel("b", kDirect), kernel("c", kBlocked)}, {}};
  EXPECT_EQ(choose({8, 8}), "a");
  EXPECT_EQ(choose({7, 8}), "b");
  EXPECT_EQ(choose({8, 7}), "c");
  EXPECT_EQ(choose({7, 7}), "c") << "the last whose condition holds";
  EXPECT_EQ(choose({8, 7}, "packed"), "a");
  EXPECT_EQ(choose({8, 8}, "direct"), "b");
  for (KernelEntry& entry : choose.kernels) entry.dtype = "bf16";
  expect_error([&] { choose({1, 1}); }, {"op.pass", "f32"});
}

// One variant with four instances, and another one with a condition.
TEST(KernelChoice, TheNearestRowOfTheRegionDecides) {
  const Choices choose{
      {kernel("defaults", kPacked), kernel("small", kPacked), kernel("large", kPacked),
       kernel("flat", kPacked), kernel("direct", kDirect), kernel("tuned", kDirect)},
      {{"small", {64, 64}},
       {"large", {1024, 1024}},
       {"flat", {64, 4096}},
       {"tuned", {1, 100}},
       {"small", {1, 1000}}}};
  EXPECT_EQ(choose({64, 64}), "small");
  EXPECT_EQ(choose({100, 100}), "small");
  EXPECT_EQ(choose({700, 900}), "large");
  EXPECT_EQ(choose({64, 3000}), "flat");
  EXPECT_EQ(choose({8, 1000000}), "flat") << "however far the nearest is";
  EXPECT_EQ(choose({1 << 20, 1 << 20}), "large");
  EXPECT_EQ(choose({1, 100}), "tuned");
  EXPECT_EQ(choose({7, 64}), "tuned") << "nearer to {64, 64}, which is in another region";
  EXPECT_EQ(choose({1, 1000}), "small") << "in its region a row goes before the condition";
  EXPECT_EQ(choose({64, 64}, "direct"), "tuned") << "the nearest of its own rows";
  EXPECT_EQ(choose({1, 1}, "packed"), "small");
  EXPECT_EQ(Choices({choose.kernels, {}})({64, 64}, "direct"), "direct");
}

// Between two rows the choice changes once, at the geometric mean: no size factor causes a cliff.
TEST(KernelChoice, ChangesOnceBetweenTwoRows) {
  const Choices choose{
      {kernel("defaults", kPacked), kernel("small", kPacked), kernel("large", kPacked)},
      {{"small", {64, 64}}, {"large", {65536, 64}}}};
  std::string last = "small";
  int changes = 0;
  for (int M = 8; M < (1 << 24); M += 1 + M / 16) {
    const std::string now = choose({M, 64});
    changes += now != last;
    if (now != last) {
      EXPECT_NEAR(std::log2(M), 11, 0.2);
    }
    last = now;
  }
  EXPECT_EQ(last, "large");
  EXPECT_EQ(changes, 1);
}

TEST(KernelChoice, RowsGiveVariantsTheirShapes) {
  const Choices choose{{kernel("packed", kPacked), kernel("other", kBlocked)},
                       {{"other", {1, 65536}}, {"packed", {64, 64}}}};
  EXPECT_EQ(choose({1, 65536}), "other");
  EXPECT_EQ(choose({2, 40000}), "other");
  EXPECT_EQ(choose({64, 100}), "packed");
  EXPECT_EQ(choose({1, 65536}, "packed"), "packed");
}

// Dispatch follows the registry's rows, whichever rows were compiled in.
TEST(Registry, DispatchFollowsTheRows) {
  Kernel scan("scan", "forward");
  for (const auto& [R, T, D] : {std::array{1, 1, 1},
                                {1, 4, 16},
                                {1, 3, 1000},
                                {40, 4, 8},
                                {1, 40000, 8},
                                {1, 70000, 1},
                                {2, 40000, 40}}) {
    EXPECT_EQ(variant_that_runs(R, T, D), scan.choose({R, T, D}).variant)
        << R << " x " << T << " x " << D;
    for (const std::string& name : variant_names("scan", "forward")) {
      const ScopedVariant forced("scan", name);
      EXPECT_EQ(variant_that_runs(R, T, D), name) << R << " x " << T << " x " << D;
    }
  }
}

TEST(KernelChoice, ACpuHasItsOwnRowsOrThoseForAllOthers) {
  const std::vector<ScheduleRow> all = {
      {"small", {64}, "", "ISA tier"}, {"large", {64}, "zen", "microarchitecture zen"}, {"", {}}};
  const auto level = [&](const char* microarchitecture, const char* name, const char* params) {
    std::vector<KernelEntry> kernels = {kernel(name, kPacked)};
    kernels[0].params = params;
    set_levels(kernels, rows_for(microarchitecture, all));
    return std::string(kernels[0].level);
  };
  EXPECT_EQ(level("zen", "large", "n=2"), "microarchitecture zen");
  EXPECT_EQ(level("zen", "small", "n=1"), "rows of other CPUs");
  EXPECT_EQ(level("zen", "small", ""), "generator default");
  EXPECT_EQ(level("other", "small", "n=1"), "ISA tier");
  EXPECT_EQ(level("other", "large", "n=2"), "rows of other CPUs");
}

TEST(Registry, LevelsAreSummedUp) {
  std::istringstream summary(kernel_schedule());
  size_t total = 0;
  for (std::string part; std::getline(summary, part, ',');) {
    const size_t count = std::stoul(part);
    const std::string level = part.substr(part.find(" by ") + 4);
    EXPECT_EQ(std::ranges::count(kernels(), level, &KernelEntry::level), count) << part;
    total += count;
  }
  EXPECT_EQ(total, kernels().size());
}

TEST(Registry, UnknownNamesListWhatThereIs) {
  for (const std::string& op : operation_names())
    expect_error<UsageError>([] { force_variant("no_such_op", "serial"); }, {"no_such_op", op});
  for (const std::string& variant : all_variants("scan"))
    expect_error<UsageError>([] { force_variant("scan", "no_such_variant"); },
                             {"no_such_variant", variant});
  EXPECT_EQ(variant_that_runs(), variant_names("scan", "forward").front())
      << "a refused name changed the choice";
}

// The environment is read at program start. A death test of the "threadsafe" style restarts the
// program.
TEST(RegistryDeathTest, ForceFromTheEnvironment) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const std::string last = variant_names("scan", "forward").back();
  setenv("MMREC_FORCE", fmt::format("gemm:{},scan:{}", all_variants("gemm").front(), last).c_str(),
         1);
  EXPECT_EXIT(std::exit(variant_that_runs() == last ? 0 : 1), testing::ExitedWithCode(0), "");
  unsetenv("MMREC_FORCE");
}

// A kernel called with arguments that its generator did not declare would read its stack as
// buffers.
TEST(Registry, WrongArgumentsAreRefused) {
  Random random;
  const GuardedTensor x = random.input({1, 4, 16}, 0.5f, 1), y = output({1, 4, 16});
  const GuardedIds ids = random.ids(4, 10);
  const CallInfo info{.sizes = {1, 4, 16}};
  static Kernel too_few("scan", "forward"), wrong_type("scan", "forward"),
      scalar_for_buffer("scan", "forward"), no_sizes("scan", "forward");
  expect_error([&] { too_few(info, x.view()); }, {"scan"});
  expect_error([&] { wrong_type(info, ids.view(), y.view()); }, {"scan"});
  expect_error([&] { scalar_for_buffer(info, x.view(), 1.f); }, {"scan"});
  expect_error([&] { no_sizes(CallInfo{}, x.view(), y.view()); }, {"scan", "R T D"});
  expect_error([] { Sizes{1, 2, 3, 4, 5}; }, {"5"});
}

}  // namespace
}  // namespace mmrec
