#pragma once

#include <Halide.h>

#include <cstdint>
#include <sstream>
#include <string>
#include <vector>

#include "generators/common/tunable.h"
#include "generators/registry/registry.h"
#include "support/error.h"

namespace mmrec::generators {

/// A pass of a variant of the registry that a generator of this program makes.
struct Kernel {
  const registry::Variant* variant;
  std::string pass;

  std::string generator() const { return std::string(variant->generator) + "_" + pass; }
};

/// The parameters that all instances of a variant get: those of its line, and the element type
/// where it is not float.
inline registry::Params fixed_params(const registry::Variant& variant) {
  registry::Params params = registry::parse_params(variant.params);
  const std::string_view dtype = variant.dtype;
  if (dtype == "bf16")
    params["element"] = "bfloat16";
  else if (dtype != "f32")
    fail("there is no element type {}", dtype);
  return params;
}

/// All that this program has generators for, in the order of the registry.
inline std::vector<Kernel> kernels() {
  const std::vector<std::string> generators = Halide::Internal::GeneratorRegistry::enumerate();
  std::vector<Kernel> all;
  for (const registry::Variant& variant : registry::kVariants)
    for (const std::string& pass : registry::find_operation(variant.op)->passes)
      if (const Kernel kernel{&variant, pass};
          std::ranges::find(generators, kernel.generator()) != generators.end())
        all.push_back(kernel);
  return all;
}

/// A generator with parameters, of which later ones go before earlier ones.
inline Halide::Internal::AbstractGeneratorPtr make_generator(
    const std::string& name, const Halide::Target& target,
    std::initializer_list<registry::Params> params,
    const Halide::AutoschedulerParams& autoscheduler = {}) {
  auto generator = Halide::Internal::GeneratorRegistry::create(
      name, Halide::GeneratorContext(target, autoscheduler));
  if (!generator) fail("there is no generator {}", name);
  for (const registry::Params& some : params)
    for (const auto& [param, value] : some) generator->set_generatorparam_value(param, value);
  return generator;
}

/// The target of which fingerprints are made: assertions are a matter of the build, not of the
/// schedule.
inline Halide::Target without_assertions(const Halide::Target& target) {
  return target.with_feature(Halide::Target::NoAsserts).with_feature(Halide::Target::NoBoundsQuery);
}

/// FNV-1a, in hexadecimal.
inline std::string hash_of(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return fmt::format("{:016x}", hash);
}

/// A fingerprint of the code as Halide lowered it, before LLVM; the function's own name does not
/// matter. Halide numbers the names of a process one after the other: it is the same only for the
/// first module that a process makes.
inline std::string fingerprint(const Halide::Module& module) {
  std::ostringstream stream;
  stream.precision(60);  // a float's digits, all of them
  for (const auto& function : module.functions()) stream << function;
  std::string text = stream.str();
  for (size_t at = 0; (at = text.find(module.name(), at)) != std::string::npos;)
    text.replace(at, module.name().size(), "kernel");
  return hash_of(text);
}

}  // namespace mmrec::generators
