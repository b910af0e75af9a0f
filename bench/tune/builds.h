#pragma once

#include <string>
#include <vector>

#include "bench/tune/candidate.h"
#include "bench/tune/space.h"
#include "runtime/kernel_registry.h"

namespace mmrec::tune {

/// Returns the kernels of a pass with the generators' defaults, one per variant, in the registry's
/// order. An empty name stands for all operations or passes.
std::vector<const KernelEntry*> default_kernels(const std::string& op, const std::string& pass);
/// Returns the default variant for calls of a pass, with the generator's defaults. Ignores the
/// call's sizes. Throws an Error if no kernel implements the pass.
const KernelEntry& default_kernel(const Call& call);

/// The Halide target with all features that kernels are compiled for.
std::string build_target();

/// Whether Halide's registry has a generator of this name.
bool has_generator(const std::string& name);

/// Returns the space of parameter values that the generator of a variant declares.
Space space_of(const KernelEntry& defaults);
/// Returns the recipe of an instance of a variant, to be checked at these shapes.
Recipe recipe_of(const KernelEntry& defaults, const Instance& instance,
                 std::vector<std::vector<int>> shapes, uint64_t seed);

/// Returns the kernel of an instance, or null if the build does not have it. Ignores the call's
/// sizes.
const KernelEntry* built_kernel(const Call& call, const Instance& instance);
/// The kernel that a call gets today, and the same as an instance of its variant.
const KernelEntry& chosen_kernel(const Call& call);
Instance chosen_instance(const Call& call);

}  // namespace mmrec::tune
