#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

#include "generators/registry/registry.h"

// The table of variants as a constant. Only registry.cpp and the dispatch include it: all files
// that do are compiled again when generators/kernels.def changes.
namespace mmrec::registry {

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
  constexpr size_t kCount = sizeof(Condition) / sizeof(int64_t);
  static_assert(kCount <= kMostSizes, "an operation has more sizes than a call can have");
  std::array<int64_t, kCount> values;
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

}  // namespace mmrec::registry
