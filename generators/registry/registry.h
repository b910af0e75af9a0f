#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mmrec::registry {

/// The types of the products' factors, in the registry's words; int8: only the weights. Sums are
/// float with all.
inline constexpr const char* kFloat32 = "f32";
inline constexpr const char* kBf16 = "bf16";
inline constexpr const char* kInt8 = "int8";

/// Traits of a variant in generators/kernels.def.
enum Trait : unsigned {
  kNone = 0,
  kBaseline = 1,  ///< only for comparison; the tuner never chooses it
  /// computes in one call what the operation's function otherwise splits into many calls
  kWhole = 2,
  /// adds in another order than the other variants, so its bits are others: it alone serves the
  /// calls of its condition, whatever the schedule tables say
  kOwnOrder = 4,
};

/// The most sizes that an operation can have.
inline constexpr size_t kMostSizes = 4;

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
  const char* dtype;  ///< of the products' factors, for example "f32"
  unsigned traits;
  bool (*serves)(const int* sizes);  ///< whether the line's condition holds

  /// Whether two variants of a pass leave the same bits.
  bool same_bits(const Variant& other) const {
    return this == &other || !((traits | other.traits) & kOwnOrder);
  }
};

/// Return all operations and all variants, in the order of their lines.
const std::vector<Operation>& operations();
std::span<const Variant> variants();
/// Return null if there is no such operation or variant.
const Operation* find_operation(std::string_view op);
const Variant* find_variant(std::string_view op, std::string_view variant, std::string_view dtype);

}  // namespace mmrec::registry
