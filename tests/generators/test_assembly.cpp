// The inner loops of the kernels in assembly, for both instruction sets, whatever this machine has.
#include <Halide.h>

#include <map>
#include <regex>

#include "bench/harness/mca.h"
#include "generators/program/lowering.h"
#include "support/atomic_file.h"
#include "tests/common/kernel_test.h"
#include "tests/common/temporary_directory.h"

namespace mmrec {
namespace {

using bench::Loop;
using generators::VariantPass;

struct Tier {
  const char* target;
  int lanes;
};
constexpr Tier kAvx2{"x86-64-linux-sse41-avx-f16c-fma-avx2", 8},
    kAvx512{"x86-64-linux-sse41-avx-f16c-fma-avx2-avx512-avx512_skylake", 16};

std::string assembly_of(const VariantPass& kernel, const Tier& tier) {
  const test::TemporaryDirectory folder;
  const std::string file = folder / "kernel.s";
  const Halide::Target target = generators::target_of(
      kernel.variant->dtype,
      std::string(tier.target) + "-strict_float-no_asserts-no_bounds_query-no_runtime");
  const auto generator = generators::make_generator(kernel.generator(), target,
                                                    {generators::fixed_params(*kernel.variant)});
  generator->build_module("kernel").compile({{Halide::OutputFileType::assembly, file}});
  return read_file(file);
}

/// Whether the loop sums products of a tile over k, or another long axis, and is not one of an
/// edge: that has branches, or sums with equal factors, which are multiplied once.
bool sums_products(const Loop& loop) {
  static const std::regex sums(
      R"(^for_(\w*accumulator|products?|sums(_of_\d)?|partial)(\$\d+)?\.s1\.)");
  const bench::InstructionMix mix = bench::instruction_mix(loop);
  return std::regex_search(loop.name, sums) && mix.multiply_adds > 0 && mix.arithmetic == 0 &&
         std::ranges::count_if(loop.instructions, [](const std::string& instruction) {
           return instruction.front() == 'j';
         }) == 1;
}

class Assembly : public testing::TestWithParam<const char*> {};

// With a sum in memory instead of a register, a multiply-add waits for a load and a store.
TEST_P(Assembly, SumsStayInRegisters) {
  for (const VariantPass& kernel : generators::kernels()) {
    // The products of `unfused` are those of `fused` without an epilogue.
    if (kernel.variant->op != std::string_view(GetParam()) || kernel.pass == "pack" ||
        kernel.variant->name == std::string_view("unfused"))
      continue;
    for (const Tier& tier : {kAvx2, kAvx512}) {
      // AVX2 has no instruction for pairs of bfloat16
      if (tier.lanes == kAvx2.lanes && kernel.variant->dtype == std::string_view(registry::kBf16))
        continue;
      SCOPED_TRACE(fmt::format("{} {} {} for {}", kernel.generator(), kernel.variant->name,
                               kernel.variant->dtype, tier.target));
      int found = 0;
      for (const Loop& loop : bench::innermost_loops(assembly_of(kernel, tier))) {
        if (!sums_products(loop)) continue;
        ++found;
        const bench::InstructionMix mix = bench::instruction_mix(loop);
        EXPECT_EQ(mix.lanes, tier.lanes) << loop.name;
        EXPECT_EQ(mix.stores, 0) << loop.name;
        for (const std::string& instruction : loop.instructions)
          // the recurrence's pairs lie on the stack, from where they are broadcast
          EXPECT_FALSE(!instruction.starts_with("vbroadcast") &&
                       instruction.find("mm") != std::string::npos &&
                       instruction.find("(%rsp") != std::string::npos)
              << loop.name << " spills: " << instruction;
      }
      EXPECT_GT(found, 0) << "no loop sums products";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Products, Assembly,
                         testing::Values("gemm", "hem", "mdi_gamma", "dpg_gamma", "planning_loss",
                                         "recurrence", "attention", "ffn", "linear_cross_entropy"),
                         [](const auto& op) { return std::string(op.param); });

}  // namespace
}  // namespace mmrec
