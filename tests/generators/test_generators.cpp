#include <Halide.h>

#include <algorithm>
#include <map>
#include <sstream>

#include "generators/program/lowering.h"
#include "tests/common/kernel_test.h"

namespace mmrec {
namespace {

using generators::Tunables;
using generators::VariantPass;

Halide::Internal::AbstractGeneratorPtr make_generator(const VariantPass& kernel) {
  return generators::make_generator(kernel.generator(), Halide::Target(kernel_target()),
                                    {generators::fixed_params(*kernel.variant)});
}

/// Returns an empty list for a generator that is not derived from Tunables.
std::vector<Tunables::Declared> tunables_of(const Halide::Internal::AbstractGenerator& generator) {
  const auto* tunables = dynamic_cast<const Tunables*>(&generator);
  return tunables ? tunables->tunables() : std::vector<Tunables::Declared>();
}

TEST(Generators, DeclareValidTunables) {
  for (const VariantPass& kernel : generators::kernels()) {
    const auto generator = make_generator(kernel);
    if (auto* tunables = dynamic_cast<Tunables*>(generator.get())) {
      EXPECT_EQ(tunables->why_rejected(), "") << kernel.generator() << " with its defaults";
    }
    generator->build_pipeline();
    for (const Tunables::Declared& tunable : tunables_of(*generator)) {
      EXPECT_TRUE(std::ranges::is_sorted(tunable.values))
          << kernel.generator() << " " << tunable.name;
      EXPECT_EQ(std::ranges::count(tunable.values, tunable.standard), 1)
          << kernel.generator() << " " << tunable.name;
    }
  }
}

// A pipeline may need only some of the parameters of its base class.
TEST(Generators, RecordWhichTunablesTheyRead) {
  const auto read = [](std::string_view op, std::string_view pass, std::string_view variant) {
    const auto generator =
        make_generator({registry::find_variant(op, variant, "f32"), std::string(pass)});
    std::vector<std::string> names;
    const auto add = [&] {
      for (const Tunables::Declared& tunable : tunables_of(*generator))
        if (tunable.read) names.push_back(tunable.name);
    };
    add();
    EXPECT_TRUE(names.empty()) << "read before there is a pipeline";
    generator->build_pipeline();
    add();
    std::ranges::sort(names);
    return names;
  };
  using Names = std::vector<std::string>;
  EXPECT_EQ(read("scan", "forward", "serial"), (Names{"column_vectors", "stream_from"}));
  EXPECT_EQ(read("column_sum", "forward", "plain"), Names{"columns_per_task"});
  EXPECT_EQ(read("linear_cross_entropy", "gradient", "fused"),
            (Names{"depth_block", "dx_tile_rows", "tile_rows", "tile_vectors"}));
  EXPECT_EQ(read("linear_cross_entropy", "gradient", "unfused"),
            (Names{"depth_block", "dx_tile_rows", "rows_per_task", "tile_rows", "tile_vectors"}));
}

// A tile of 14 rows and 4 vectors needs 61 registers.
TEST(Generators, RejectTilesThatSpill) {
  const auto generator = make_generator({registry::find_variant("gemm", "packed", "f32"), "nt"});
  generator->set_generatorparam_value("tile_rows", "14");
  generator->set_generatorparam_value("tile_vectors", "4");
  const std::string reason = dynamic_cast<Tunables&>(*generator).why_rejected();
  EXPECT_NE(reason.find("61 registers"), reason.npos) << reason;
}

// A registry line with bfloat16 factors needs no generator of its own; arrays and sums are float.
TEST(Generators, TakeTheTypeOfFactorsAsAParameter) {
  registry::Variant bf16 = *registry::find_variant("gemm", "packed", "bf16");
  for (const char* pass : {"nn", "nt", "tn"}) {
    const Halide::Module module = make_generator({&bf16, pass})->build_module("kernel");
    for (const Halide::Argument& argument : module.functions().back().args)
      EXPECT_TRUE(argument.type == Halide::Float(32) || !argument.is_buffer()) << argument.name;
  }
  registry::Variant without = *registry::find_variant("rmsnorm", "plain", "f32");
  without.dtype = "bf16";
  EXPECT_ANY_THROW(make_generator({&without, "forward"})) << "it has no products";
  bf16.dtype = "f8";
  expect_error([&] { generators::fixed_params(bf16); }, {"f8"});
}

}  // namespace
}  // namespace mmrec
