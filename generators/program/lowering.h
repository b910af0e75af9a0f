#pragma once

#include <Halide.h>

#include <algorithm>
#include <cstdint>
#include <sstream>
#include <string>
#include <vector>

#include "generators/common/bf16.h"
#include "generators/common/riscv.h"
#include "generators/common/tunable.h"
#include "generators/registry/registry.h"
#include "support/error.h"

namespace mmrec::generators {

/// One pass of a registered variant whose generator is in this program.
struct VariantPass {
  const registry::Variant* variant;
  std::string pass;

  std::string generator() const { return std::string(variant->generator) + "_" + pass; }
};

/// Returns the parameters that all instances of a variant share: those of its registry line, and
/// the type of the products' factors unless it is float.
inline registry::Params fixed_params(const registry::Variant& variant) {
  registry::Params params = registry::parse_params(variant.params);
  const std::string_view dtype = variant.dtype;
  if (dtype == registry::kBf16)
    params["factors"] = "bfloat16";
  else if (dtype == registry::kInt8)
    params["factors"] = "int8";
  else if (dtype != registry::kFloat32)
    fail("products cannot have factors of type {}", dtype);
  return params;
}

/// Whether CPUs of a target's tier may have instructions for bfloat16 factors.
inline bool may_have_bf16(const Halide::Target& target) {
  return target.has_feature(Halide::Target::AVX512_Skylake);
}

/// Returns what kernels with factors of a type are compiled for in a build for `target`.
inline Halide::Target target_of(std::string_view dtype, const std::string& target) {
  const Halide::Target build(target);
  return dtype == registry::kBf16 && may_have_bf16(build) ? build.with_feature(kBf16Instructions)
                                                          : build;
}

/// Returns all kernels that this program has generators for, in the registry's order.
inline std::vector<VariantPass> kernels() {
  const std::vector<std::string> generators = Halide::Internal::GeneratorRegistry::enumerate();
  std::vector<VariantPass> all;
  for (const registry::Variant& variant : registry::variants())
    for (const std::string& pass : registry::find_operation(variant.op)->passes)
      if (const VariantPass kernel{&variant, pass};
          std::ranges::find(generators, kernel.generator()) != generators.end())
        all.push_back(kernel);
  return all;
}

/// Makes a generator and sets its parameters. Later entries of `params` override earlier ones.
/// Throws an Error for an unknown generator.
inline Halide::Internal::AbstractGeneratorPtr make_generator(
    const std::string& name, const Halide::Target& target,
    std::initializer_list<registry::Params> params,
    const Halide::AutoschedulerParams& autoscheduler = {}) {
  auto generator = Halide::Internal::GeneratorRegistry::create(
      name, Halide::GeneratorContext(with_fixed_vectors(target), autoscheduler));
  if (!generator) fail("there is no generator {}", name);
  for (const registry::Params& some : params)
    for (const auto& [param, value] : some) generator->set_generatorparam_value(param, value);
  return generator;
}

/// Returns the FNV-1a hash in hexadecimal.
inline std::string hash_of(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return fmt::format("{:016x}", hash);
}

/// Returns a fingerprint of the code that Halide lowered, before LLVM. It does not depend on the
/// function's name. Halide numbers names over the whole process, so the fingerprint is reproducible
/// only for the first module of a process.
inline std::string fingerprint(const Halide::Module& module) {
  std::ostringstream stream;
  stream.precision(60);  // prints all digits of a float
  for (const auto& function : module.functions()) stream << function;
  std::string text = stream.str();
  for (size_t at = 0; (at = text.find(module.name(), at)) != std::string::npos;)
    text.replace(at, module.name().size(), "kernel");
  return hash_of(text);
}

}  // namespace mmrec::generators
