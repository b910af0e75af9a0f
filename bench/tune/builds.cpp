#include "bench/tune/builds.h"

#include <algorithm>
#include <map>
#include <memory>

#include "bench/tune/log.h"
#include "generators/program/lowering.h"
#include "runtime/cpu_info.h"
#include "runtime/threads.h"
#include "support/error.h"

namespace mmrec::tune {

namespace {

Halide::Internal::AbstractGeneratorPtr make(const Build& build, const Params& params) {
  return generators::make_generator(build.generator, Halide::Target(build_target()),
                                    {params, build.params});
}

Instance instance_of(const KernelEntry& kernel) {
  return {kernel.variant, parse_params(kernel.params)};
}

std::vector<Build> all_builds() {
  std::vector<Build> all;
  for (const KernelEntry& kernel : kernels())
    if (!*kernel.params)
      all.push_back({kernel.op, kernel.pass, kernel.variant,
                     std::string(kernel.line->generator) + "_" + kernel.pass,
                     generators::fixed_params(*kernel.line),
                     (kernel.line->traits & registry::kBaseline) != 0, kernel.lowered});
  return all;
}

}  // namespace

const std::vector<Build>& builds() {
  static const std::vector<Build> all = all_builds();
  return all;
}

std::vector<Build> builds_of(const std::string& op, const std::string& pass) {
  std::vector<Build> found;
  std::ranges::copy_if(builds(), std::back_inserter(found),
                       [&](const Build& build) { return build.op == op && build.pass == pass; });
  if (found.empty()) fail("no kernel implements {}.{}", op, pass);
  return found;
}

std::string build_target() { return MMREC_BUILD_TARGET; }
std::string halide_version() { return MMREC_BUILD_HALIDE; }

bool has_generator(const std::string& name) {
  const std::vector<std::string> all = Halide::Internal::GeneratorRegistry::enumerate();
  return std::ranges::find(all, name) != all.end();
}

Space space_of(const Build& build) {
  const auto generator = make(build, {});
  generator->build_pipeline();  // reads the parameters that the pipeline depends on
  Space space{build.variant, {}};
  const auto* tunables = dynamic_cast<const generators::Tunables*>(generator.get());
  if (!tunables) return space;
  space.sensible = [build](const Instance& instance) {
    return dynamic_cast<generators::Tunables&>(*make(build, instance.params))
        .why_rejected()
        .empty();
  };
  for (const generators::Tunables::Declared& declared : tunables->tunables()) {
    if (!declared.read || build.params.contains(declared.name)) continue;
    Axis axis{declared.name, declared.values};
    axis.standard = static_cast<size_t>(std::ranges::find(axis.values, declared.standard) -
                                        axis.values.begin());
    if (axis.standard == axis.values.size())
      fail("the default of {}'s {} is none of its values", build.generator, declared.name);
    space.axes.push_back(std::move(axis));
  }
  return space;
}

const KernelEntry* built_kernel(const std::string& op, const std::string& pass,
                                const Instance& instance) {
  for (const KernelEntry& entry : kernels())
    if (entry.op == op && entry.pass == pass && entry.variant == instance.variant &&
        parse_params(entry.params) == instance.params)
      return &entry;
  return nullptr;
}

const KernelEntry& chosen_kernel(const Call& call) {
  // A Kernel keeps pointers to its names; the map's keys own them.
  static std::map<std::pair<std::string, std::string>, std::unique_ptr<Kernel>> kernels_of_calls;
  const auto [place, first] = kernels_of_calls.try_emplace({call.op, call.pass});
  if (first)
    place->second =
        std::make_unique<Kernel>(place->first.first.c_str(), place->first.second.c_str());
  return place->second->choose(Sizes(sizes_of(call)));
}

Instance chosen_instance(const Call& call) { return instance_of(chosen_kernel(call)); }

Machine Machine::current() {
  return {.cpu = cpu_id(),
          .microarchitecture = mmrec::microarchitecture(),
          .isa = isa_tier(kernel_target()),
          .target = build_target(),
          .halide = halide_version(),
          .threads = num_threads()};
}

}  // namespace mmrec::tune
