// Every kernel must leave the same bits on every CPU: the golden file has a checksum of each, and
// the preset avx2 runs this test with other kernels than the preset release.
#include <fstream>
#include <ostream>

#include "bench/workloads/workloads.h"
#include "generators/registry/registry.h"
#include "support/checksum.h"
#include "tests/common/kernel_test.h"

namespace mmrec::bench {
namespace {

struct Kernel {
  std::string op, pass, variant, dtype;

  /// "gemm nt packed", "gemm nt packed:bf16"
  std::string name() const {
    return fmt::format("{} {} {}{}", op, pass, variant,
                       dtype == registry::kFloat32 ? "" : ":" + dtype);
  }
  /// for failure messages
  friend void PrintTo(const Kernel& kernel, std::ostream* out) { *out << kernel.name(); }
};

/// All variants of all passes.
std::vector<Kernel> variants() {
  std::vector<Kernel> all;
  for (const registry::Operation& operation : registry::operations())
    for (const std::string& pass : operation.passes)
      for (const Precision precision : precisions()) {
        const char* dtype = dtype_of(precision);
        for (const std::string& variant : variant_names(operation.name, pass, dtype))
          all.push_back({operation.name, pass, variant, dtype});
      }
  return all;
}

/// Reads the checksums: lines of a kernel's name and a number.
std::map<std::string, std::string> golden() {
  std::map<std::string, std::string> sums;
  std::ifstream file(MMREC_SOURCE_DIR "/tests/bench/bits.txt");
  for (std::string op, pass, variant, sum; file >> op >> pass >> variant >> sum;)
    sums[fmt::format("{} {} {}", op, pass, variant)] = sum;
  return sums;
}

class Bits : public testing::TestWithParam<Kernel> {};

TEST_P(Bits, AreThoseOfEveryCpu) {
  if (!kernels_have_common_bits())
    GTEST_SKIP() << "The kernels are for a CPU whose bits are not those of others.";
  const Kernel& kernel = GetParam();
  const std::map<std::string, std::string> sums = golden();
  for (const KernelEntry& instance : kernels()) {
    if (instance.op != kernel.op || instance.pass != kernel.pass ||
        instance.variant != kernel.variant || instance.dtype != kernel.dtype)
      continue;
    uint32_t sum = 0;
    for (const std::vector<int>& sizes : description_of(kernel.op).tested) {
      const Workload work = workload_of(kernel.op, kernel.pass, sizes, kernel.dtype);
      const Prepared call(work, 1, Caches::kWarm, 1);
      {
        const ScopedKernel forced(instance);
        call();
      }
      sum = crc32_of(call.memory(), sum);
    }
    const std::string line = fmt::format("{} {:08x}", kernel.name(), sum);
    const auto found = sums.find(kernel.name());
    EXPECT_EQ(line, found == sums.end() ? "" : fmt::format("{} {}", kernel.name(), found->second))
        << "with parameters " << instance.params
        << "; if the kernel's arithmetic has changed on purpose, change tests/bench/bits.txt";
  }
}

INSTANTIATE_TEST_SUITE_P(Registry, Bits, testing::ValuesIn(variants()),
                         [](const testing::TestParamInfo<Kernel>& info) {
                           return fmt::format("{}_{}_{}_{}", info.param.op, info.param.pass,
                                              info.param.variant, info.param.dtype);
                         });

}  // namespace
}  // namespace mmrec::bench
