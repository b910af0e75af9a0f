#pragma once

#include <string>
#include <vector>

#include "bench/tune/instance.h"
#include "bench/tune/space.h"
#include "runtime/kernel_registry.h"

namespace mmrec::tune {

/// How the build compiles a pass of a variant.
struct Build {
  std::string op, pass, variant;
  std::string generator;  ///< in Halide's registry
  Params params;          ///< those of the registry line
  bool baseline = false;  ///< is only for comparisons, and never chosen
  std::string source;     ///< hash of the generator's source files
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
const KernelEntry* built_kernel(const Build& build, const Instance& instance);
/// What a call gets today, and as an instance of its variant.
const KernelEntry& chosen_kernel(const Call& call);
Instance chosen_instance(const Call& call);

/// Throws an Error where a call's sizes are not those of its operation; of an operation that the registry does not know they may be any.
void check_sizes(const Call& call);
/// A call's sizes in the order of its operation's SIZES, and the inverse.
std::vector<int> sizes_of(const Call& call);
Call call_of(const std::string& op, const std::string& pass, const std::vector<int>& sizes);
/// "gemm.nt 512x128x128"; of what the registry does not know the sizes stand in the order of their names.
std::string call_string(const Call& call);

}  // namespace mmrec::tune
