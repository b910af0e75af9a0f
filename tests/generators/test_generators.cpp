#include <Halide.h>

#include <algorithm>
#include <sstream>

#include "generators/common/tunable.h"
#include "tests/common/kernel_test.h"

namespace mmrec {
namespace {

using generators::Tunables;

/// A kernel as the build makes it, from the registry line of its variant.
struct KernelBuild {
  std::string op, pass, variant, generator, fixed, source, tunables;
};
const std::vector<KernelBuild> kBuilds = {
#define MMREC_KERNEL_BUILD(op, pass, variant, generator, fixed, baseline, source, tunables) \
  {#op, #pass, #variant, generator, fixed, source, tunables},
#include "kernel_build.inc"
#undef MMREC_KERNEL_BUILD
};

Halide::Internal::AbstractGeneratorPtr make_generator(const KernelBuild& build) {
  auto generator = Halide::Internal::GeneratorRegistry::create(build.generator, Halide::GeneratorContext(Halide::Target(MMREC_BUILD_TARGET)));
  if (const size_t equals = build.fixed.find('='); equals != std::string::npos)
    generator->set_generatorparam_value(build.fixed.substr(0, equals), build.fixed.substr(equals + 1));
  return generator;
}

/// None of a generator that is no Tunables.
std::vector<Tunables::Declared> tunables_of(const Halide::Internal::AbstractGenerator& generator) {
  const auto* tunables = dynamic_cast<const Tunables*>(&generator);
  return tunables ? tunables->tunables() : std::vector<Tunables::Declared>();
}

// The tuner asks the generators, the build looks for the declarations in their sources: both must find the same.
TEST(Generators, BuildKnowsTheTunables) {
  for (const KernelBuild& build : kBuilds) {
    const auto generator = make_generator(build);
    std::vector<std::string> declared;
    for (const Tunables::Declared& tunable : tunables_of(*generator))
      declared.push_back(fmt::format("{}={}:{}", tunable.name, tunable.standard, fmt::join(tunable.values, ",")));
    std::ranges::sort(declared);
    std::istringstream list(build.tunables);
    std::vector<std::string> found;
    for (std::string item; std::getline(list, item, ';');) found.push_back(item);
    std::ranges::sort(found);
    EXPECT_EQ(found, declared) << build.generator;
  }
}

TEST(Generators, SayWhatIsWorthTrying) {
  for (const KernelBuild& build : kBuilds) {
    const auto generator = make_generator(build);
    if (auto* tunables = dynamic_cast<Tunables*>(generator.get())) {
      EXPECT_EQ(tunables->why_rejected(), "") << build.generator << " with its defaults";
    }
    generator->build_pipeline();
    for (const Tunables::Declared& tunable : tunables_of(*generator)) {
      EXPECT_TRUE(std::ranges::is_sorted(tunable.values)) << build.generator << " " << tunable.name;
      EXPECT_EQ(std::ranges::count(tunable.values, tunable.standard), 1) << build.generator << " " << tunable.name;
    }
  }
}

// Of what a base class declares a pipeline may need a part.
TEST(Generators, KnowWhatTheyDependOn) {
  const auto read = [](std::string_view op, std::string_view pass, std::string_view variant) {
    const auto build = std::ranges::find_if(kBuilds, [&](const KernelBuild& b) { return b.op == op && b.pass == pass && b.variant == variant; });
    const auto generator = make_generator(*build);
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
  EXPECT_EQ(read("linear_cross_entropy", "gradient", "fused"), (Names{"depth_block", "dx_tile_rows", "tile_rows"}));
  EXPECT_EQ(read("linear_cross_entropy", "gradient", "unfused"), (Names{"depth_block", "dx_tile_rows", "rows_per_task", "tile_rows"}));
}

// A tile of 14 rows and 4 vectors takes 61 registers.
TEST(Generators, ObjectToTilesThatDoNotFit) {
  const auto build = std::ranges::find(kBuilds, "gemm_packed_nt", &KernelBuild::generator);
  const auto generator = make_generator(*build);
  generator->set_generatorparam_value("tile_rows", "14");
  generator->set_generatorparam_value("tile_vectors", "4");
  const std::string reason = dynamic_cast<Tunables&>(*generator).why_rejected();
  EXPECT_NE(reason.find("61 registers"), reason.npos) << reason;
}

}  // namespace
}  // namespace mmrec
