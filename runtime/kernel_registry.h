#pragma once

#include <HalideRuntime.h>

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "runtime/kernel_choice.h"
#include "runtime/tensor.h"

namespace mmrec {

/// The Halide target that the kernels were compiled for.
const char* kernel_target();
/// Which levels of the schedule tables serve how many of them: "31 by cpu amd_epyc_9r14, 20 by
/// generator default".
std::string kernel_schedule();
/// For programs, before anything else: throws an Error where this machine lacks instructions that
/// the kernels use, and a UsageError for a MMREC_FORCE that names no variant.
void check_kernels();
/// All kernels, an operation after the other, its variants in the order of the registry.
std::span<const KernelEntry> kernels();
/// The operations, and the variants that implement a pass of one, in that order.
std::vector<std::string> operations();
std::vector<std::string> variants(std::string_view op, std::string_view pass);

/// Makes `variant` the current context's choice for every pass of `op` that it implements, whatever
/// the sizes; an empty variant restores the choice by size. Unknown names throw a UsageError that
/// lists what there is. The environment's MMREC_FORCE=op:variant[,op:variant..] does the same for
/// every context when it is made.
void force_variant(std::string_view op, std::string_view variant);

/// Forces a variant while it lives: for tests and benchmarks, which go through all that variants()
/// lists.
class ScopedVariant {
 public:
  ScopedVariant(std::string op, std::string_view variant);
  ~ScopedVariant() { force_variant(op_, before_); }
  ScopedVariant(const ScopedVariant&) = delete;
  ScopedVariant& operator=(const ScopedVariant&) = delete;

 private:
  std::string op_, before_;
};

/// Makes a kernel the current context's choice for its pass while both live: one of kernels(), or
/// one that has been compiled meanwhile. To be made and ended while no kernel of the context runs,
/// and on the same context.
class ScopedKernel {
 public:
  explicit ScopedKernel(const KernelEntry& kernel);
  ~ScopedKernel();
  ScopedKernel(const ScopedKernel&) = delete;
  ScopedKernel& operator=(const ScopedKernel&) = delete;

 private:
  /// Returns what was forced before.
  const KernelEntry* force(const KernelEntry* kernel) const;

  std::string op_, pass_;
  const KernelEntry* before_;
};

/// What a call is: the floating-point operations that it does at the least (an FMA is two), for the
/// profile, and its sizes.
struct CallInfo {
  double flops = 0;
  Sizes sizes{};
};

namespace detail {

/// What the caller passes for one argument, compared with the kernel's own metadata when a kernel
/// is first chosen.
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

template <class T>
void* argument_pointer(const TensorView<T>& tensor) {
  return tensor.buffer();
}
template <class T>
  requires std::is_arithmetic_v<T>
void* argument_pointer(const T& scalar) {
  return const_cast<T*>(&scalar);
}

}  // namespace detail

/// One pass of one operation as the typed functions in runtime/ops call it: chooses the variant for
/// the sizes, calls it, turns an error code into an exception, and keeps time when a profile is
/// wanted. It computes with the current context. Make it a function's static.
class Kernel {
 public:
  Kernel(const char* op, const char* pass);

  /// Tensors and scalars in the order of the generator's inputs, then its outputs.
  template <class... Args>
  void operator()(const CallInfo& info, const Args&... args) {
    const std::array<void*, sizeof...(Args)> pointers{detail::argument_pointer(args)...};
    const std::array<detail::ArgumentType, sizeof...(Args)> types{detail::argument_type(args)...};
    run(info, const_cast<void**>(pointers.data()), types);
  }

  const char* op() const { return op_; }
  const char* pass() const { return pass_; }
  /// What a call of these sizes gets in the current context.
  const KernelEntry& choose(const Sizes& sizes) const;

 private:
  void run(const CallInfo& info, void** arguments, std::span<const detail::ArgumentType> types);
  const KernelEntry& checked(const Sizes& sizes, std::span<const detail::ArgumentType> types) const;
  void check_signature(const KernelEntry& entry, const Sizes& sizes,
                       std::span<const detail::ArgumentType> types) const;

  const char* op_;
  const char* pass_;
  const uint64_t id_;  // that no other has had, for the threads' memory of choices
  KernelChoice choice_;
};

}  // namespace mmrec
