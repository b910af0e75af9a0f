#pragma once

#include <string>
#include <vector>

#include "bench/tune/space.h"
#include "runtime/kernel_registry.h"

namespace mmrec::tune {

/// How the build compiles a pass of a variant.
struct Build {
  std::string op, pass, variant;
  std::string generator;  ///< in Halide's registry
  Params params;          ///< those of the registry line
  bool baseline = false;  ///< is only for comparisons, and never chosen
  std::string code;  ///< fingerprint of the instance with the generator's defaults: another one,
                     ///< and no verdict of the log counts
};

/// All that the registry has, in its order: the first of a pass is its default variant.
const std::vector<Build>& builds();
std::vector<Build> builds_of(const std::string& op, const std::string& pass);

/// The Halide target, with all features, that kernels are compiled for; Halide's version.
std::string build_target();
std::string halide_version();

/// Whether Halide's registry has a generator.
bool has_generator(const std::string& name);

/// What a build's generator declares as worth trying.
Space space_of(const Build& build);

/// The kernel of an instance, if the build has it.
const KernelEntry* built_kernel(const std::string& op, const std::string& pass,
                                const Instance& instance);
/// What a call gets today, and as an instance of its variant.
const KernelEntry& chosen_kernel(const Call& call);
Instance chosen_instance(const Call& call);

}  // namespace mmrec::tune
