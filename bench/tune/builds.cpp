#include "bench/tune/builds.h"

#include <Halide.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <memory>
#include <sstream>

#include "generators/common/tunable.h"
#include "runtime/cpu_info.h"
#include "runtime/threads.h"
#include "support/error.h"

namespace mmrec::tune {

namespace {

#define MMREC_KERNEL_BUILD(op, pass, variant, generator, params, baseline, source, tunables) \
  {#op, #pass, #variant, generator, parse_params(params), baseline, source},
std::vector<Build> all_builds() {
  return {
#include "kernel_build.inc"
  };
}
#undef MMREC_KERNEL_BUILD

const char* size_names(const std::string& op) {
  for (const KernelEntry& entry : kernels())
    if (entry.op == op) return entry.size_names;
  fail("there is no operation {}", op);
}

Halide::Internal::AbstractGeneratorPtr make_generator(const Build& build, const Params& params) {
  auto generator = Halide::Internal::GeneratorRegistry::create(build.generator, Halide::GeneratorContext(Halide::Target(build_target())));
  for (const Params& some : {build.params, params})
    for (const auto& [name, value] : some) generator->set_generatorparam_value(name, value);
  return generator;
}

Instance instance_of(const KernelEntry& kernel) { return {kernel.variant, parse_params(kernel.params)}; }

}  // namespace

const std::vector<Build>& builds() {
  static const std::vector<Build> all = all_builds();
  return all;
}

std::vector<Build> builds_of(const std::string& op, const std::string& pass) {
  std::vector<Build> found;
  std::ranges::copy_if(builds(), std::back_inserter(found), [&](const Build& build) { return build.op == op && build.pass == pass; });
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
  const auto generator = make_generator(build, {});
  generator->build_pipeline();  // which reads the parameters that it depends on
  Space space{build.variant, {}};
  const auto* tunables = dynamic_cast<const generators::Tunables*>(generator.get());
  if (!tunables) return space;
  space.sensible = [build](const Instance& instance) {
    return dynamic_cast<generators::Tunables&>(*make_generator(build, instance.params)).why_rejected().empty();
  };
  for (const generators::Tunables::Declared& declared : tunables->tunables()) {
    if (!declared.read || build.params.contains(declared.name)) continue;
    Axis axis{declared.name, declared.values};
    axis.standard = static_cast<size_t>(std::ranges::find(axis.values, declared.standard) - axis.values.begin());
    if (axis.standard == axis.values.size()) fail("the default of {}'s {} is none of its values", build.generator, declared.name);
    space.axes.push_back(std::move(axis));
  }
  return space;
}

const KernelEntry* built_kernel(const Build& build, const Instance& instance) {
  for (const KernelEntry& entry : kernels())
    if (entry.op == build.op && entry.pass == build.pass && instance_of(entry) == instance) return &entry;
  return nullptr;
}

const KernelEntry& chosen_kernel(const Call& call) {
  // Dispatch keeps an eye on every Kernel that there is: they stay.
  static std::map<std::pair<std::string, std::string>, std::unique_ptr<Kernel>> kernels_of_calls;
  const auto [place, first] = kernels_of_calls.try_emplace({call.op, call.pass});
  if (first) place->second = std::make_unique<Kernel>(place->first.first.c_str(), place->first.second.c_str());
  return place->second->choose(Sizes(sizes_of(call)));
}

Instance chosen_instance(const Call& call) { return instance_of(chosen_kernel(call)); }

void check_sizes(const Call& call) {
  const auto entry = std::ranges::find(kernels(), call.op, &KernelEntry::op);
  if (entry == kernels().end()) return;
  std::istringstream names(entry->size_names);
  size_t count = 0;
  for (std::string name; names >> name; ++count)
    if (!call.sizes.contains(name)) break;
  if (names || count != call.sizes.size()) fail("its sizes are not {}", entry->size_names);
}

std::vector<int> sizes_of(const Call& call) {
  std::vector<int> sizes;
  std::istringstream names(size_names(call.op));
  for (std::string name; names >> name;) {
    const auto size = call.sizes.find(name);
    if (size == call.sizes.end()) fail("{}.{} needs the size {}", call.op, call.pass, name);
    sizes.push_back(size->second);
  }
  return sizes;
}

Call call_of(const std::string& op, const std::string& pass, const std::vector<int>& sizes) {
  Call call{op, pass, {}};
  std::istringstream names(size_names(op));
  size_t count = 0;
  for (std::string name; names >> name; ++count)
    if (count < sizes.size()) call.sizes[name] = sizes[count];
  if (count != sizes.size()) fail_usage("{} has {} sizes, {}, not {}", op, count, size_names(op), fmt::join(sizes, "x"));
  return call;
}

std::string call_string(const Call& call) {
  std::vector<int> sizes;
  for (const auto& [name, size] : call.sizes) sizes.push_back(size);
  try {
    sizes = sizes_of(call);
  } catch (const Error&) {
  }
  return fmt::format("{}.{} {}", call.op, call.pass, fmt::join(sizes, "x"));
}

Machine Machine::current() {
  return {.cpu = cpu_id(),
          .microarchitecture = mmrec::microarchitecture(),
          .isa = isa_tier(kernel_target()),
          .target = build_target(),
          .halide = halide_version(),
          .threads = num_threads()};
}

}  // namespace mmrec::tune
