#include <Halide.h>

#include <algorithm>

#include "generators/common/tunable.h"
#include "tests/kernel_test.h"

namespace mmrec {
namespace {

using generators::Tunables;

/// A kernel as the build makes it, from the registry line of its variant.
struct Build {
  std::string op, pass, variant, generator, fixed, source, tunables;
};
const std::vector<Build> kBuilds = {
#define MMREC_KERNEL_BUILD(op, pass, variant, generator, fixed, source, tunables) {#op, #pass, #variant, generator, fixed, source, tunables},
#include "kernel_build.inc"
#undef MMREC_KERNEL_BUILD
};

Halide::Internal::AbstractGeneratorPtr make_generator(const Build& build) {
  auto generator = Halide::Internal::GeneratorRegistry::create(build.generator, Halide::GeneratorContext(Halide::Target(MMREC_BUILD_TARGET)));
  if (const size_t equals = build.fixed.find('='); equals != std::string::npos)
    generator->set_generatorparam_value(build.fixed.substr(0, equals), build.fixed.substr(equals + 1));
  return generator;
}

const std::vector<Tunables::Declared>& tunables_of(const Halide::Internal::AbstractGenerator& generator) {
  return dynamic_cast<const Tunables&>(generator).tunables();
}

// The tuner asks the generators, the build looks for the declarations in their sources: both must find the same.
TEST(Generators, BuildKnowsTheTunables) {
  for (const Build& build : kBuilds) {
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
  for (const Build& build : kBuilds) {
    const auto generator = make_generator(build);
    generator->build_pipeline();
    for (const Tunables::Declared& tunable : tunables_of(*generator)) {
      EXPECT_TRUE(std::ranges::is_sorted(tunable.values)) << build.generator << " " << tunable.name;
      EXPECT_EQ(std::ranges::count(tunable.values, tunable.standard), 1) << build.generator << " " << tunable.name;
      if (tunable.read) fmt::print("{} {} {}\n", build.generator, build.fixed, tunable.name);
    }
  }
}

}  // namespace
}  // namespace mmrec
