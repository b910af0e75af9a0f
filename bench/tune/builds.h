#pragma once

#include <string>
#include <vector>

#include "bench/tune/space.h"
#include "runtime/kernel_registry.h"

namespace mmrec::tune {

/// How the build compiles one pass of a variant.
struct Build {
  std::string op, pass, variant;
  std::string generator;  ///< name in Halide's registry
  Params params;          ///< parameters of the registry line
  bool baseline = false;  ///< only for comparisons, never chosen
  /// Fingerprint of the instance with the generator's defaults. If it changes, all earlier verdicts
  /// of the log are invalid.
  std::string code;
};

/// Returns all builds in the registry's order. The first build of a pass is its default variant.
const std::vector<Build>& builds();
std::vector<Build> builds_of(const std::string& op, const std::string& pass);

/// The Halide target with all features that kernels are compiled for; the version of Halide.
std::string build_target();
std::string halide_version();

/// Whether Halide's registry has a generator of this name.
bool has_generator(const std::string& name);

/// Returns the space of parameter values that the build's generator declares.
Space space_of(const Build& build);

/// Returns the kernel of an instance, or null if the build does not have it.
const KernelEntry* built_kernel(const std::string& op, const std::string& pass,
                                const Instance& instance);
/// The kernel that a call gets today, and the same as an instance of its variant.
const KernelEntry& chosen_kernel(const Call& call);
Instance chosen_instance(const Call& call);

}  // namespace mmrec::tune
