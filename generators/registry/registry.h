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

/// Traits of a variant in generators/kernels.def.
enum Trait : unsigned {
  kNone = 0,
  kBaseline = 1,  ///< only for comparison; the tuner never chooses it
  /// computes in one call what the operation's function otherwise splits into many calls
  kWhole = 2,
};

/// A line MMREC_OP: an operation, its passes, and the names of a call's sizes, in the order in
/// which its typed function passes them.
struct Operation {
  std::string name;
  std::vector<std::string> passes, sizes;
};

/// A line MMREC_KERNEL: a variant of an operation.
struct Variant {
  const char* op;
  const char* name;
  const char* generator;  ///< registered with Halide as <generator>_<pass>
  /// Parameters of the generator in all instances, for example "fused=false".
  const char* params;
  const char* dtype;  ///< element type of the arrays, for example "f32"
  unsigned traits;
  bool (*serves)(const int* sizes);  ///< whether the line's condition holds
};

// A condition is an expression of the operation's sizes. So it is a member function of a struct
// that inherits the sizes as members.
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

/// All variants in the order of their lines, and the index of each variant.
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

/// Returns all operations, in the order of their lines.
const std::vector<Operation>& operations();
/// Return null if there is no such operation or variant.
const Operation* find_operation(std::string_view op);
const Variant* find_variant(std::string_view op, std::string_view variant, std::string_view dtype);

}  // namespace mmrec::registry
