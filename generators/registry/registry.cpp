#include "generators/registry/registry.h"

#include <algorithm>
#include <sstream>

#include "generators/registry/variants.h"

namespace mmrec::registry {

namespace {

/// Splits "M, N, K" or "nn nt tn" into words.
std::vector<std::string> words(std::string text) {
  std::ranges::replace(text, ',', ' ');
  std::istringstream stream(text);
  std::vector<std::string> all;
  for (std::string word; stream >> word;) all.push_back(word);
  return all;
}

}  // namespace

const std::vector<Operation>& operations() {
  static const std::vector<Operation> all = {
#define MMREC_OP(op, passes, ...) {#op, words(passes), words(#__VA_ARGS__)},
#define MMREC_KERNEL(op, variant, generator, params, element, traits, condition)
#include "generators/kernels.def"
#undef MMREC_OP
#undef MMREC_KERNEL
  };
  return all;
}

std::span<const Variant> variants() { return kVariants; }

const Operation* find_operation(std::string_view op) {
  const auto found = std::ranges::find(operations(), op, &Operation::name);
  return found == operations().end() ? nullptr : &*found;
}

const Variant* find_variant(std::string_view op, std::string_view variant, std::string_view dtype) {
  for (const Variant& line : kVariants)
    if (line.op == op && line.name == variant && line.dtype == dtype) return &line;
  return nullptr;
}

}  // namespace mmrec::registry
