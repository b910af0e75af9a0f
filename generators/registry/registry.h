#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mmrec::registry {

/// What a line of generators/kernels.def says of a variant besides its condition.
enum Trait : unsigned {
  kNone = 0,
  kBaseline = 1,  ///< others are compared with it; the tuner never chooses it
  kWhole = 2,     ///< takes in one call what the operation's function otherwise cuts into many
};

/// A line MMREC_OP: an operation, its passes, and the names of a call's sizes in the order in which
/// its typed function gives them.
struct Operation {
  std::string name;
  std::vector<std::string> passes, sizes;
};

/// A line MMREC_KERNEL.
struct Variant {
  const char* op;
  const char* name;
  const char* generator;  ///< Halide knows it as <generator>_<pass>
  const char* params;     ///< "fused=false": of the generator, the same in all instances
  const char* dtype;      ///< of the arrays' elements: "f32"
  unsigned traits;
  bool (*serves)(const int* sizes);  ///< the condition
};

// A condition is written in the operation's sizes: it is a member of a struct that inherits them.
namespace sizes {
#define MMREC_OP(op, passes, ...) \
  struct op {                     \
    int64_t __VA_ARGS__;          \
  };
#define MMREC_KERNEL(op, variant, generator, params, element, traits, condition)
#include "generators/kernels.def"
#undef MMREC_OP
#undef MMREC_KERNEL
}  // namespace sizes

namespace conditions {
#define MMREC_OP(op, passes, ...)
#define MMREC_KERNEL(op, variant, generator, params, element, traits, condition) \
  struct op##_##variant##_##element : sizes::op {                                \
    constexpr bool holds() const { return condition; }                           \
  };
#include "generators/kernels.def"
#undef MMREC_OP
#undef MMREC_KERNEL

template <class Condition>
bool holds(const int* sizes) {
  std::array<int64_t, sizeof(Condition) / sizeof(int64_t)> values;
  std::copy_n(sizes, values.size(), values.begin());
  return std::bit_cast<Condition>(values).holds();
}
}  // namespace conditions

/// All variants, in the order of the lines, and the index of each.
inline constexpr Variant kVariants[] = {
#define MMREC_OP(op, passes, ...)
#define MMREC_KERNEL(op, variant, generator, params, element, traits, condition) \
  {#op,                                                                          \
   #variant,                                                                     \
   #generator,                                                                   \
   params,                                                                       \
   #element,                                                                     \
   traits,                                                                       \
   conditions::holds<conditions::op##_##variant##_##element>},
#include "generators/kernels.def"
#undef MMREC_KERNEL
};
namespace index {
enum : size_t {
#define MMREC_KERNEL(op, variant, generator, params, element, traits, condition) \
  op##_##variant##_##element,
#include "generators/kernels.def"
#undef MMREC_KERNEL
#undef MMREC_OP
};
}  // namespace index

/// All operations, in the order of the lines.
const std::vector<Operation>& operations();
/// Null where there is none.
const Operation* find_operation(std::string_view op);
const Variant* find_variant(std::string_view op, std::string_view variant, std::string_view dtype);

}  // namespace mmrec::registry
