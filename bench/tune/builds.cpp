#include "bench/tune/builds.h"

#include <algorithm>
#include <utility>

#include "bench/tune/log.h"
#include "generators/program/lowering.h"
#include "runtime/cpu_info.h"
#include "runtime/threads.h"
#include "support/error.h"

namespace mmrec::tune {

namespace {

std::string generator_of(const KernelEntry& kernel) {
  return generators::VariantPass{kernel.line, kernel.pass}.generator();
}

Halide::Internal::AbstractGeneratorPtr make(const KernelEntry& defaults, const Params& params) {
  return generators::make_generator(generator_of(defaults),
                                    generators::target_of(defaults.dtype, build_target()),
                                    {params, generators::fixed_params(*defaults.line)});
}

}  // namespace

std::vector<const KernelEntry*> default_kernels(const std::string& op, const std::string& pass) {
  std::vector<const KernelEntry*> found;
  for (const KernelEntry& kernel : kernels())
    if (!*kernel.params && (op.empty() || kernel.op == op) && (pass.empty() || kernel.pass == pass))
      found.push_back(&kernel);
  return found;
}

const KernelEntry& default_kernel(const Call& call) {
  for (const KernelEntry* kernel : default_kernels(call.op, call.pass))
    if (kernel->dtype == call.dtype) return *kernel;
  fail("no kernel implements {}.{} for {}", call.op, call.pass, call.dtype);
}

std::string build_target() { return MMREC_BUILD_TARGET; }

bool has_generator(const std::string& name) {
  const std::vector<std::string> all = Halide::Internal::GeneratorRegistry::enumerate();
  return std::ranges::find(all, name) != all.end();
}

Space space_of(const KernelEntry& defaults) {
  const auto generator = make(defaults, {});
  generator->build_pipeline();  // reads the parameters that the pipeline depends on
  Space space{defaults.variant, {}};
  const auto* tunables = dynamic_cast<const generators::Tunables*>(generator.get());
  if (!tunables) return space;
  space.sensible = [defaults](const Instance& instance) {
    return dynamic_cast<generators::Tunables&>(*make(defaults, instance.params))
        .why_rejected()
        .empty();
  };
  const Params fixed = generators::fixed_params(*defaults.line);
  for (const generators::Tunables::Declared& declared : tunables->tunables()) {
    if (!declared.read || fixed.contains(declared.name)) continue;
    Axis axis{declared.name, declared.values};
    axis.standard = static_cast<size_t>(std::ranges::find(axis.values, declared.standard) -
                                        axis.values.begin());
    if (axis.standard == axis.values.size())
      fail("the default of {}'s {} is none of its values", generator_of(defaults), declared.name);
    space.axes.push_back(std::move(axis));
  }
  return space;
}

Recipe recipe_of(const KernelEntry& defaults, const Instance& instance,
                 std::vector<std::vector<int>> shapes, uint64_t seed) {
  Recipe recipe{defaults.op,
                defaults.pass,
                defaults.dtype,
                instance.variant,
                generator_of(defaults),
                generators::fixed_params(*defaults.line),
                std::move(shapes),
                seed};
  for (const auto& [name, value] : instance.params) recipe.params[name] = value;
  return recipe;
}

const KernelEntry* built_kernel(const Call& call, const Instance& instance) {
  for (const KernelEntry& entry : kernels())
    if (entry.op == call.op && entry.pass == call.pass && entry.dtype == call.dtype &&
        entry.variant == instance.variant && parse_params(entry.params) == instance.params)
      return &entry;
  return nullptr;
}

const KernelEntry& chosen_kernel(const Call& call) {
  const KernelEntry& any = default_kernel(call);
  const ScopedPrecision scoped(precision_of(any.dtype));
  return Kernel(any.op, any.pass).choose(Sizes(sizes_of(call)));
}

Instance chosen_instance(const Call& call) {
  const KernelEntry& kernel = chosen_kernel(call);
  return {kernel.variant, parse_params(kernel.params)};
}

Machine Machine::current() {
  return {.cpu = cpu_id(),
          .microarchitecture = mmrec::microarchitecture(),
          .isa = isa_tier(kernel_target()),
          .target = build_target(),
          .halide = MMREC_BUILD_HALIDE,
          .threads = num_threads()};
}

}  // namespace mmrec::tune
