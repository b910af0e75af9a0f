#pragma once

#include <HalideRuntime.h>

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "runtime/context.h"
#include "runtime/kernel_choice.h"
#include "runtime/saved_tensor.h"
#include "runtime/tensor.h"

namespace mmrec {

/// Returns the Halide target of the kernels that this process has chosen: the best ones of the
/// build that the CPU and the system offer, and that the environment's MMREC_MAX_ISA (avx512, avx2,
/// ..) permits.
const char* kernel_target();

/// Whether the kernels leave the same bits as those for other CPUs (generators/common/contract.h).
bool kernels_have_common_bits();
/// Returns how many kernels get their schedule from which level of the schedule tables, for example
/// "31 by cpu amd_epyc_9r14, 20 by generator default".
std::string kernel_schedule();
/// Programs call this first. Throws an Error if this machine lacks instructions that the kernels
/// use, and a UsageError if MMREC_FORCE is malformed or names an unknown variant.
void check_kernels();
/// Returns all kernels: operation by operation, each with its variants in the registry's order.
std::span<const KernelEntry> kernels();
/// Return the operations, and the variants that implement a pass of an operation with factors of a
/// type, in the same order.
std::vector<std::string> operation_names();
std::vector<std::string> variant_names(std::string_view op, std::string_view pass,
                                       std::string_view dtype = registry::kFloat32);

/// Returns why this process cannot multiply with bfloat16 factors, or "".
std::string why_no_bf16();
/// Returns the precisions in which this process can compute, float32 first.
const std::vector<Precision>& precisions();
/// Returns the precision in which the calling thread computes.
Precision precision();
/// Convert between a precision and the type of its kernels' factors, in the registry's words.
Precision precision_of(std::string_view dtype);
const char* dtype_of(Precision precision);

/// Sets the precision of the calling thread, and of the loops that it runs, during the lifetime of
/// the object. Operations that have kernels for it use these; all others compute in float32. Throws
/// an Error if there is an obstacle (why_no_bf16).
class ScopedPrecision {
 public:
  explicit ScopedPrecision(Precision precision);
  ~ScopedPrecision();
  ScopedPrecision(const ScopedPrecision&) = delete;
  ScopedPrecision& operator=(const ScopedPrecision&) = delete;

 private:
  Precision before_;
};

/// Checks the shape of an operation's saved tensor (check_shape), and that its elements are of the
/// type that the calling thread's precision asks for.
void check_saved(const char* what, const SavedTensor& saved, std::initializer_list<int> shape);

/// Makes `variant` the current context's choice for all passes and types of factors of `op` that it
/// implements, at all sizes. An empty variant restores the choice by size. Throws a UsageError that
/// lists the known names if a name is unknown. The environment's
/// MMREC_FORCE=op:variant[,op:variant..] does the same for every context, from its creation.
void force_variant(std::string_view op, std::string_view variant);

/// Forces a variant during the lifetime of the object, then restores the previous choice. For tests
/// and benchmarks, which iterate over variant_names().
class ScopedVariant {
 public:
  ScopedVariant(std::string op, std::string_view variant);
  ~ScopedVariant() { force_variant(op_, before_); }
  ScopedVariant(const ScopedVariant&) = delete;
  ScopedVariant& operator=(const ScopedVariant&) = delete;

 private:
  std::string op_, before_;
};

/// Forces one kernel for its pass in the current context, during the lifetime of the object. The
/// kernel is one of kernels(), or was compiled at run time; it must outlive this object. Construct
/// and destroy the object in the same context, while none of its kernels runs.
class ScopedKernel {
 public:
  explicit ScopedKernel(const KernelEntry& kernel);
  ~ScopedKernel();
  ScopedKernel(const ScopedKernel&) = delete;
  ScopedKernel& operator=(const ScopedKernel&) = delete;

 private:
  /// Returns the kernel that was forced before, or null.
  const KernelEntry* force(const KernelEntry* kernel) const;

  std::string op_, pass_, dtype_;
  ScopedPrecision precision_;
  const KernelEntry* before_;
};

/// Properties of a call. flops: the minimum number of floating-point operations (an FMA counts as
/// two), for the profile.
struct CallInfo {
  double flops = 0;
  Sizes sizes{};
};

namespace detail {

/// Kind and type of an argument that the caller passes. Compared with the kernel's metadata when a
/// kernel is first chosen.
struct ArgumentType {
  bool buffer;
  halide_type_t type;
};

template <class T>
constexpr ArgumentType argument_type(const TensorView<T>&) {
  return {true, halide_type_of<T>()};
}
template <class T>
  requires std::is_arithmetic_v<T>
constexpr ArgumentType argument_type(const T&) {
  return {false, halide_type_of<T>()};
}

inline ArgumentType argument_type(const SavedTensor& saved) {
  return saved.visit([](const auto& view) { return argument_type(view); });
}

template <class T>
void* argument_pointer(const TensorView<T>& tensor) {
  return tensor.buffer();
}
inline void* argument_pointer(const SavedTensor& saved) {
  return saved.visit([](const auto& view) { return argument_pointer(view); });
}
template <class T>
  requires std::is_arithmetic_v<T>
void* argument_pointer(const T& scalar) {
  return const_cast<T*>(&scalar);
}

}  // namespace detail

/// One pass of one operation, for the typed functions in runtime/ops. A call chooses the variant
/// for the sizes and the thread's precision, runs it in the current context, turns an error code
/// into an exception, and records the time if profiling is on. Make it a static variable of a
/// function.
class Kernel {
 public:
  Kernel(const char* op, const char* pass);

  /// Arguments: tensors and scalars, in the order of the generator's inputs and then its outputs.
  /// Throws an Error if the arguments do not fit the kernel or the kernel fails.
  template <class... Args>
  void operator()(const CallInfo& info, const Args&... args) {
    const std::array<void*, sizeof...(Args)> pointers{detail::argument_pointer(args)...};
    const std::array<detail::ArgumentType, sizeof...(Args)> types{detail::argument_type(args)...};
    run(info, const_cast<void**>(pointers.data()), types);
  }

  /// Returns the precision of the kernels that calls of the current thread get.
  Precision factors() const {
    return choices_[static_cast<size_t>(precision())] ? precision() : Precision::kFloat32;
  }
  bool bf16() const { return factors() == Precision::kBf16; }
  const char* op() const { return op_; }
  const char* pass() const { return pass_; }
  /// Returns the kernel that a call of these sizes gets in the current context.
  const KernelEntry& choose(const Sizes& sizes) const;

 private:
  void run(const CallInfo& info, void** arguments, std::span<const detail::ArgumentType> types);
  const KernelEntry& checked(const Sizes& sizes, std::span<const detail::ArgumentType> types) const;
  void check_signature(const KernelEntry& entry, const Sizes& sizes,
                       std::span<const detail::ArgumentType> types) const;

  const char* op_;
  const char* pass_;
  const uint64_t id_;  // unique, also over time: the key of the thread-local cache
  std::array<std::optional<KernelChoice>, kPrecisions> choices_;  // for those that have kernels
};

}  // namespace mmrec
