#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <span>
#include <vector>

#include "runtime/arena.h"
#include "runtime/cgroup_limits.h"
#include "runtime/cpu_info.h"
#include "runtime/rng.h"
#include "runtime/tensor.h"
#include "runtime/threads.h"
#include "support/checksum.h"
#include "tests/common/kernel_test.h"
#include "tests/common/temporary_directory.h"

namespace mmrec {
namespace {

// ------------------------------------------------------------------------------------------ tensor

/// A tensor with the elements 0, 1, 2, ..
struct Counting {
  explicit Counting(std::initializer_list<int> shape) : view(nullptr, shape), values(view.count()) {
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
    view.set_data(values.data());
  }
  Tensor view;
  std::vector<float> values;
};

std::vector<float> elements(const Tensor& tensor) {
  std::vector<float> values;
  for (int64_t i = 0; i < tensor.count(); ++i) values.push_back(reference::element(tensor, i));
  return values;
}

TEST(TensorView, RowMajor) {
  const Counting c({2, 3, 4});
  EXPECT_EQ(c.view.rank(), 3);
  EXPECT_EQ(c.view.count(), 24);
  EXPECT_EQ(reference::shape_of(c.view), (std::vector{2, 3, 4}));
  EXPECT_EQ((std::array{c.view.stride(0), c.view.stride(1), c.view.stride(2)}),
            (std::array{12, 4, 1}));
  EXPECT_TRUE(c.view.contiguous());
  EXPECT_EQ(c.view.shape_string(), "[2,3,4]");
  EXPECT_EQ(Tensor().data(), nullptr);
}

TEST(TensorView, EachViewHasItsOwnHalideDescriptor) {
  const Counting c({2, 3});
  const Tensor copy = c.view;
  // it would dangle when the original is destroyed
  ASSERT_NE(copy.buffer()->axes, c.view.buffer()->axes);
  EXPECT_EQ(copy.buffer()->axes[0].extent, 3);  // axis 0 is the innermost
  EXPECT_EQ(copy.buffer()->axes[1].stride, 3);
  EXPECT_EQ(copy.buffer()->host, reinterpret_cast<uint8_t*>(c.view.data()));
  EXPECT_EQ(copy.buffer()->type.bits, 32);
}

TEST(TensorView, SlicesAndAt) {
  const Counting c({2, 3, 4});
  EXPECT_EQ(elements(c.view.columns(1, 3).rows(1, 2)),
            (std::vector<float>{13, 14, 17, 18, 21, 22}));
  EXPECT_EQ(elements(c.view.at(1).rows(0, 1)), (std::vector<float>{12, 13, 14, 15}));
  EXPECT_EQ(c.view.at(1).rank(), 2);
  EXPECT_EQ(elements(c.view.columns(1, 3).at(0).at(2)), (std::vector<float>{9, 10}));
  EXPECT_FALSE(c.view.columns(1, 3).contiguous());
  EXPECT_TRUE(c.view.rows(1, 2).contiguous());
  EXPECT_EQ(c.view.slice(1, 3, 3).count(), 0);  // an empty part is allowed, even at the end
  expect_error([&] { c.view.slice(3, 0, 1); }, {"[2,3,4]"});
  expect_error([&] { c.view.slice(-1, 0, 1); }, {"[2,3,4]"});
  expect_error([&] { c.view.slice(1, 0, 4); }, {"[2,3,4]", "4"});
  expect_error([&] { c.view.slice(1, 2, 1); }, {"[2,3,4]"});
  expect_error([&] { c.view.slice(1, -1, 1); }, {"[2,3,4]"});
  expect_error([&] { c.view.at(2); }, {"[2,3,4]"});
}

TEST(TensorView, Reshape) {
  const Counting c({6, 4});
  EXPECT_EQ(elements(c.view.reshape({2, 3, 4}).at(1)),
            (std::vector<float>{12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23}));
  EXPECT_EQ(c.view.reshape({24}).rank(), 1);
  EXPECT_EQ(c.view.reshape({3, 8}).stride(0), 8);  // a contiguous tensor may be reshaped freely
  expect_error([&] { c.view.reshape({5, 5}); }, {"[6,4]", "[5,5]"});

  const Tensor part = c.view.columns(1, 3);  // rows of a wider matrix
  const Tensor split = part.reshape({2, 3, 2});
  EXPECT_EQ(elements(split), elements(part));
  EXPECT_EQ((std::array{split.stride(0), split.stride(1), split.stride(2)}),
            (std::array{12, 4, 1}));
  EXPECT_EQ(elements(split.reshape({3, 2, 2})), elements(part));
  EXPECT_EQ(elements(split.reshape({6, 2})), elements(part));
  expect_error([&] { part.reshape({12}); }, {"[6,2]", "[12]"});
  expect_error([&] { part.reshape({3, 4}); }, {"[6,2]", "[3,4]"});
  const Tensor irregular = c.view.reshape({2, 3, 4}).slice(1, 0, 2);  // rows 0 1 3 4
  EXPECT_EQ(elements(irregular),
            (std::vector<float>{0, 1, 2, 3, 4, 5, 6, 7, 12, 13, 14, 15, 16, 17, 18, 19}));
  expect_error([&] { irregular.reshape({4, 4}); }, {"[2,2,4]", "[4,4]"});
}

TEST(TensorView, RankHasALimit) {
  EXPECT_NO_THROW(Tensor(nullptr, {1, 2, 3, 4}));
  expect_error([] { Tensor(nullptr, {1, 2, 3, 4, 5}); }, {"4", "5"});
}

TEST(TensorView, ElementsHaveALimit) {
  EXPECT_NO_THROW(Tensor(nullptr, {1 << 15, (1 << 16) - 1}));
  expect_error([] { Tensor(nullptr, {1 << 15, 1 << 16}); }, {"[32768,65536]", "2^31"});
  expect_error([] { Tensor(nullptr, {2, 1 << 30, 1 << 30, 1 << 30}); }, {"2^31"});
}

TEST(TensorView, CheckShape) {
  const Counting c({2, 3});
  EXPECT_NO_THROW(check_shape("op x", c.view, {2, 3}));
  EXPECT_NO_THROW(check_shape("op x", c.view, {-1, 3}));
  EXPECT_NO_THROW(check_shape("op x", c.view.columns(0, 2), {2, 2}));
  expect_error([&] { check_shape("op x", c.view, {2, 4}); }, {"op x", "[2,3]", "[2,4]"});
  expect_error([&] { check_shape("op x", c.view, {2, 3, 1}); }, {"op x", "[2,3]"});
  expect_error([&] { check_shape("op x", c.view, {6}); }, {"op x"});
}

// ------------------------------------------------------------------------------------------- arena

TEST(Arena, MeasuredThenFilled) {
  struct Arrays {
    TensorView<uint8_t> bytes;
    Tensor a, b;
    IntTensor ids;
  };
  const auto lay_out = [](Arena& arena) {
    return Arrays{arena.take<uint8_t>({3}), arena.tensor({5, 7}), arena.tensor({0, 9}),
                  arena.take<int32_t>({17})};
  };
  Arena counting;
  EXPECT_EQ(lay_out(counting).a.data(), nullptr);
  EXPECT_GE(counting.used(), 3 + 35 * sizeof(float) + 17 * sizeof(int32_t));

  Arena arena(counting.used());
  const Arrays arrays = lay_out(arena);
  EXPECT_EQ(arena.used(), counting.used());
  EXPECT_EQ(arrays.a.shape_string(), "[5,7]");
  const auto address = [](auto* pointer) { return reinterpret_cast<uintptr_t>(pointer); };
  for (uintptr_t start :
       {address(arrays.bytes.data()), address(arrays.a.data()), address(arrays.ids.data())}) {
    EXPECT_NE(start, 0u);
    EXPECT_EQ(start % Arena::kAlignment, 0u);
  }
  EXPECT_GE(address(arrays.a.data()), address(arrays.bytes.data()) + 3);
  EXPECT_GE(address(arrays.ids.data()), address(arrays.a.data()) + 35 * sizeof(float));
  for (float value : elements(arrays.a)) EXPECT_EQ(value, 0);

  Arena moved = std::move(arena);
  EXPECT_EQ(moved.used(), counting.used());
  EXPECT_EQ(arrays.a.data()[34], 0);  // the memory has moved too
  EXPECT_THROW(moved.tensor({1}), Error);
}

// ------------------------------------------------------------------------------------------ random

// Known answers of philox4x32-10 from the Random123 distribution (kat_vectors).
TEST(Philox, KnownAnswers) {
  using Block = std::array<uint32_t, 4>;
  EXPECT_EQ(Philox(0, 0).block(0), (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(Philox(UINT64_MAX, UINT64_MAX).block(UINT64_MAX),
            (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  // counter 243f6a88 85a308d3 | stream 13198a2e 03707344 | key a4093822 299f31d0, low words first
  EXPECT_EQ(Philox(0x299f31d0a4093822, 0x0370734413198a2e).block(0x85a308d3243f6a88),
            (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, BitsAreTheWordsOfTheBlocks) {
  const Philox philox(12, 34);
  for (uint64_t i : {uint64_t{0}, uint64_t{1}, uint64_t{6}, uint64_t{4'000'000'003}, UINT64_MAX})
    EXPECT_EQ(philox.bits(i), philox.block(i / 4)[i % 4]);
}

/// Returns the mean of f(i) for 0 <= i < n.
template <class Function>
double mean(int n, Function f) {
  double sum = 0;
  for (int i = 0; i < n; ++i) sum += f(i);
  return sum / n;
}

constexpr int kDraws = 100'000;
/// Four standard deviations of a mean of kDraws draws with this variance. The draws are fixed, so
/// the tests are not flaky.
double four_sigma(double variance) { return 4 * std::sqrt(variance / kDraws); }

TEST(Philox, Uniform) {
  const Philox philox(1, 2);
  for (int i = 0; i < kDraws; ++i) {
    const float u = philox.uniform(i);
    ASSERT_GE(u, 0);
    ASSERT_LT(u, 1);
    ASSERT_EQ(std::ldexp(u, 24), std::floor(std::ldexp(u, 24))) << "more than 24 bits";
  }
  const auto centred = [&](int i) { return philox.uniform(i) - 0.5; };
  EXPECT_NEAR(mean(kDraws, centred), 0, four_sigma(1. / 12));
  EXPECT_NEAR(mean(kDraws, [&](int i) { return centred(i) * centred(i); }), 1. / 12,
              four_sigma(1. / 180));
  EXPECT_NEAR(mean(kDraws, [&](int i) { return centred(i) * centred(i + 1); }), 0,
              four_sigma(1. / 144));
  EXPECT_NEAR(mean(kDraws, [&](int i) { return centred(i) * (Philox(1, 3).uniform(i) - 0.5); }), 0,
              four_sigma(1. / 144));  // another stream
  EXPECT_NEAR(mean(kDraws, [&](int i) { return centred(i) * (Philox(2, 2).uniform(i) - 0.5); }), 0,
              four_sigma(1. / 144));  // another seed
}

TEST(Philox, Normal) {
  const Philox philox(5, 6);
  const auto normal = [&](int i) { return philox.normals(i / 4)[i % 4]; };
  const auto moment = [&](int power) {
    return mean(kDraws, [&](int i) { return std::pow(static_cast<double>(normal(i)), power); });
  };
  EXPECT_NEAR(moment(1), 0, four_sigma(1));
  EXPECT_NEAR(moment(2), 1, four_sigma(2));
  EXPECT_NEAR(moment(3), 0, four_sigma(15));
  EXPECT_NEAR(moment(4), 3, four_sigma(96));
  EXPECT_NEAR(mean(kDraws, [&](int i) { return normal(i) * normal(i + 1); }), 0, four_sigma(1));
  for (int i = 0; i < kDraws; ++i) ASSERT_TRUE(std::isfinite(normal(i)));
}

// Not those of the C library's logarithm, sine and cosine, which differ from CPU to CPU.
TEST(Philox, NormalsHaveTheSameBitsOnEveryCpu) {
  std::vector<float> values;
  for (uint64_t counter = 5; counter < 1006; ++counter)
    for (const float normal : Philox(42, 7).normals(counter)) values.push_back(0.02f * normal);
  EXPECT_EQ(crc32_of(std::as_bytes(std::span(values))), 343706194u);
}

TEST(Philox, Below) {
  const Philox philox(7, 8);
  constexpr int kFaces = 6;
  std::array<int, kFaces> count{};
  for (int i = 0; i < kDraws; ++i) {
    const uint32_t face = philox.below(i, kFaces);
    ASSERT_LT(face, static_cast<uint32_t>(kFaces));
    ++count[face];
  }
  for (int n : count)
    EXPECT_NEAR(static_cast<double>(n) / kDraws, 1. / kFaces, four_sigma(5. / 36));
  for (int i = 0; i < 100; ++i) EXPECT_EQ(philox.below(i, 1), 0u);
}

TEST(DropoutBits, KeepRate) {
  for (float p : {0.1f, 0.5f, 0.9f}) {
    const uint32_t threshold = dropout_threshold(p);
    EXPECT_NEAR(threshold / 4294967296.0, p, 1e-9);
    const double kept =
        mean(kDraws, [&](int i) { return dropout_bits({0x12345678, 0x9abcdef0}, i) >= threshold; });
    EXPECT_NEAR(kept, 1 - static_cast<double>(p), four_sigma(p * (1 - p)));
  }
  EXPECT_EQ(dropout_threshold(0), 0u);
}

// Masks with keys that differ in one bit, and neighbouring elements, must look independent.
TEST(DropoutBits, Independence) {
  const uint32_t threshold = dropout_threshold(0.5f);
  const auto sign = [&](DropoutKey key, uint32_t i) {
    return dropout_bits(key, i) >= threshold ? 1. : -1.;
  };
  const DropoutKey key{0x12345678, 0x9abcdef0};
  for (uint32_t bit = 1; bit != 0; bit <<= 1) {
    const auto correlation = [&](DropoutKey other) {
      return mean(kDraws, [&](int i) { return sign(key, i) * sign(other, i); });
    };
    EXPECT_NEAR(correlation({key.low ^ bit, key.high}), 0, four_sigma(1)) << "low, bit " << bit;
    EXPECT_NEAR(correlation({key.low, key.high ^ bit}), 0, four_sigma(1)) << "high, bit " << bit;
    EXPECT_NEAR(mean(kDraws, [&](int i) { return sign(key, i) * sign(key, i + bit); }), 0,
                four_sigma(1))
        << "distance " << bit;
  }
}

// ---------------------------------------------------------------------------------- control groups

/// A tree of files as in /proc and /sys.
class CgroupLimitsTest : public testing::Test {
 protected:
  void write(const std::filesystem::path& file, const std::string& text) const {
    std::filesystem::create_directories((root_ / file).parent_path());
    std::ofstream(root_ / file) << text;
  }
  /// Mounts a version's hierarchy from the group `mounted` on.
  void mount(int version, const std::string& place, const std::string& mounted,
             const std::string& controllers = "") {
    mounts_ +=
        version == 2
            ? fmt::format("36 25 0:32 {} {} rw,nosuid shared:9 - cgroup2 cgroup rw\n", mounted,
                          place)
            : fmt::format("36 25 0:32 {} {} rw,nosuid master:7 shared:9 - cgroup cgroup rw,{}\n",
                          mounted, place, controllers);
    write("proc/self/mountinfo", "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n" + mounts_);
  }
  CgroupLimits limits() const { return cgroup_limits(root_.path()); }

  test::TemporaryDirectory root_;
  std::string mounts_;
};

TEST_F(CgroupLimitsTest, WithoutGroupsThereIsNoLimit) {
  EXPECT_FALSE(limits().cpus || limits().memory);
  mount(2, "/sys/fs/cgroup", "/");
  EXPECT_FALSE(limits().cpus || limits().memory);
  write("proc/self/cgroup", "0::/a/b\n");
  write("sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
  write("sys/fs/cgroup/a/b/memory.max", "max\n");
  EXPECT_FALSE(limits().cpus || limits().memory);
}

TEST_F(CgroupLimitsTest, SmallestLimitOfAllAncestorsCounts) {
  mount(2, "/sys/fs/cgroup", "/");
  write("proc/self/cgroup", "0::/outer/inner\n");
  write("sys/fs/cgroup/outer/cpu.max", "150000 100000\n");
  write("sys/fs/cgroup/outer/inner/cpu.max", "400000 100000\n");
  write("sys/fs/cgroup/outer/memory.max", "8589934592\n");
  write("sys/fs/cgroup/outer/inner/memory.max", "1073741824\n");
  write("sys/fs/cgroup/other/cpu.max", "10000 100000\n");
  EXPECT_DOUBLE_EQ(limits().cpus.value(), 1.5);
  EXPECT_EQ(limits().memory.value(), 1 << 30);
}

TEST_F(CgroupLimitsTest, NamespaceShowsTheOwnGroupAsTheRoot) {
  mount(2, "/sys/fs/cgroup", "/");
  write("proc/self/cgroup", "0::/\n");
  write("sys/fs/cgroup/cpu.max", "200000 100000\n");
  EXPECT_DOUBLE_EQ(limits().cpus.value(), 2);
  write("proc/self/cgroup", "0::/../elsewhere\n");
  EXPECT_DOUBLE_EQ(limits().cpus.value(), 2) << "what is mounted is all that can be seen";
}

TEST_F(CgroupLimitsTest, ContainerMaySeeTheHostsGroupNames) {
  mount(1, "/sys/fs/cgroup/cpu,cpuacct", "/docker/42", "cpu,cpuacct");
  mount(1, "/sys/fs/cgroup/mem\\040ory", "/docker/42", "memory");
  write("proc/self/cgroup",
        "4:cpu,cpuacct:/docker/42/inner\n3:memory:/docker/42\n1:name=systemd:/docker/42\n0::/\n");
  write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
  write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
  write("sys/fs/cgroup/cpu,cpuacct/inner/cpu.cfs_quota_us", "25000\n");
  write("sys/fs/cgroup/cpu,cpuacct/inner/cpu.cfs_period_us", "50000\n");
  write("sys/fs/cgroup/mem ory/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_DOUBLE_EQ(limits().cpus.value(), 0.5);
  EXPECT_FALSE(limits().memory) << "as much as the counter holds";
  write("sys/fs/cgroup/mem ory/memory.limit_in_bytes", "536870912\n");
  EXPECT_EQ(limits().memory.value(), 512 << 20);
}

/// A real group, if this process may create one.
TEST(CgroupLimitsOfThisMachine, AreFound) {
  namespace fs = std::filesystem;
  for (const fs::path hierarchy :
       {"/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup"}) {
    const fs::path group = hierarchy / fmt::format("mmrec-test-{}", ::getpid());
    std::error_code ignored;
    if (!fs::create_directory(group, ignored)) continue;
    const bool second = fs::exists(group / "cpu.max"),
               first = fs::exists(group / "cpu.cfs_quota_us");
    if (first) std::ofstream(group / "cpu.cfs_quota_us") << 50000 << std::flush;
    if (second) std::ofstream(group / "cpu.max") << "50000 100000" << std::flush;
    int status = -1;
    if (const pid_t child = ::fork(); child == 0) {
      std::ofstream procs(group / "cgroup.procs");
      procs << ::getpid() << std::flush;
      ::_exit(!procs                                                                ? 2
              : cgroup_limits().cpus.value_or(0) == 0.5 && available_threads() == 1 ? 0
                                                                                    : 1);
    } else {
      ::waitpid(child, &status, 0);
    }
    fs::remove(group, ignored);
    if (!(first || second) || status == 2 << 8) continue;
    EXPECT_EQ(status, 0) << group;
    return;
  }
  GTEST_SKIP() << "no group with a quota can be made here";
}

// ---------------------------------------------------------------------------------- CPU and errors

TEST(CpuInfo, KernelsFitThisMachine) {
  EXPECT_FALSE(cpu_name().empty());
  EXPECT_EQ(missing_features(host_target()), std::vector<std::string>{});
  EXPECT_NO_THROW(check_kernels());
}

// Tables and logs are files with these names.
TEST(CpuInfo, NamesAreSlugs) {
  EXPECT_EQ(cpu_slug("AMD EPYC 9R14"), "amd_epyc_9r14");
  EXPECT_EQ(cpu_slug("AMD EPYC 7763 64-Core Processor"), "amd_epyc_7763");
  EXPECT_EQ(cpu_slug("Intel(R) Xeon(R) Platinum 8488C"), "intel_xeon_platinum_8488c");
  EXPECT_EQ(cpu_slug("Intel(R) Core(TM) i7-8650U CPU @ 1.90GHz"), "intel_core_i7_8650u");
  EXPECT_EQ(cpu_slug("AMD Ryzen 7 7840U w/ Radeon 780M Graphics"), "amd_ryzen_7_7840u");
  for (const std::string& name : {cpu_id(), microarchitecture()}) {
    EXPECT_FALSE(name.empty());
    EXPECT_EQ(name, cpu_slug(name));
  }
}

TEST(CpuInfo, IsaTiers) {
  EXPECT_EQ(isa_tier("x86-64-linux-sse41-avx-f16c-fma-avx2-avx512-avx512_skylake"), "avx512");
  EXPECT_EQ(isa_tier("x86-64-linux-avx512_skylake-no_asserts"), "avx512");
  EXPECT_EQ(isa_tier("x86-64-linux-avx2-fma-f16c-sse41-avx"), "avx2");
  EXPECT_EQ(isa_tier("x86-64-linux-avx-sse41"), "avx");
  EXPECT_EQ(isa_tier("x86-64-linux-sse41"), "sse41");
  EXPECT_EQ(isa_tier("x86-64-linux"), "sse2");
  EXPECT_EQ(isa_tier("arm-64-linux"), "neon");
  EXPECT_EQ(isa_tier("riscv-64-linux-rvv-vector_bits_256"), "rvv");
}

TEST(CpuInfo, MissingFeaturesAreNamed) {
  EXPECT_EQ(missing_features("x86-64-linux-sse41-avx512_imagined-no_runtime"),
            std::vector<std::string>{"avx512_imagined"});
  EXPECT_EQ(missing_features("riscv-64-linux-rvv-vector_bits_4096-no_runtime").back(),
            "vector_bits_4096");
}

}  // namespace
}  // namespace mmrec
