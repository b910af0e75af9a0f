#pragma once

#include <HalideRuntime.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "runtime/error.h"
#include "runtime/tensor.h"

namespace mmrec {

/// One compiled kernel: a pass (forward, backward, nn, ..) of an operation in one variant. The rows come from the registry
/// lines in generators/CMakeLists.txt.
struct KernelEntry {
  const char* op;
  const char* pass;
  const char* variant;
  const char* size_names;            ///< of the operation: "M N K"
  bool (*serves)(const int* sizes);  ///< the variant's WHEN, null where it has none
  int (*call)(void** arguments);
  const halide_filter_metadata_t* (*metadata)();
};

/// The Halide target that the kernels were compiled for.
const char* kernel_target();
/// The table of tuned parameters that they were compiled with, or "generator defaults".
const char* kernel_schedule();
/// For programs, before anything else: throws an Error where this machine lacks instructions that the kernels use, and a
/// UsageError for a MMREC_FORCE that names no variant.
void check_kernels();
/// All kernels, in the order of the registry lines. A call gets the first variant whose condition holds for its sizes, else the
/// operation's first variant, the default.
std::span<const KernelEntry> kernels();
/// The operations, and the variants that implement a pass of one, in that order.
std::vector<std::string> operations();
std::vector<std::string> variants(std::string_view op, std::string_view pass);

/// Makes `variant` the choice for every pass of `op` that it implements, whatever the sizes; an empty variant restores the
/// choice by size. Unknown names throw a UsageError that lists what there is. The environment's MMREC_FORCE=op:variant[,op:variant..] does the
/// same at start.
void force_variant(std::string_view op, std::string_view variant);

/// Forces a variant while it lives: for tests and benchmarks, which go through all that variants() lists.
class ScopedVariant {
 public:
  ScopedVariant(std::string op, std::string_view variant) : op_(std::move(op)) { force_variant(op_, variant); }
  ~ScopedVariant() { force_variant(op_, ""); }
  ScopedVariant(const ScopedVariant&) = delete;
  ScopedVariant& operator=(const ScopedVariant&) = delete;

 private:
  std::string op_;
};

/// The sizes of a call, in the order of the operation's SIZES in generators/CMakeLists.txt: what the variants' conditions see.
class Sizes {
 public:
  Sizes() = default;
  Sizes(std::initializer_list<int> sizes) : count_(static_cast<int>(sizes.size())) {
    if (sizes.size() > values_.size()) fail("an operation has {} sizes at most, not {}", values_.size(), sizes.size());
    std::copy(sizes.begin(), sizes.end(), values_.begin());
  }
  const int* data() const { return values_.data(); }
  int count() const { return count_; }

 private:
  std::array<int, 4> values_{};
  int count_ = 0;
};

/// What a call is: the floating-point operations that it does at the least (an FMA is two), for the profile, and its sizes.
struct Work {
  double flops = 0;
  Sizes sizes{};
};

namespace detail {

/// What the caller passes for one argument, compared with the kernel's own metadata when a kernel is first chosen.
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

/// One pass of one operation as the typed functions in runtime/ops call it: chooses the variant for the sizes, calls it, turns an error
/// code into an exception, and keeps time when a profile is wanted. Make it a function's static.
class Kernel {
 public:
  Kernel(const char* op, const char* pass);

  /// Tensors and scalars in the order of the generator's inputs, then its outputs.
  template <class... Args>
  void operator()(const Work& work, const Args&... args) {
    const std::array<void*, sizeof...(Args)> pointers{detail::argument_pointer(args)...};
    const std::array<detail::ArgumentType, sizeof...(Args)> types{detail::argument_type(args)...};
    run(work, const_cast<void**>(pointers.data()), types);
  }

  const char* op() const { return op_; }
  const char* pass() const { return pass_; }
  /// What a call of these sizes gets.
  const KernelEntry& choose(const Sizes& sizes) const;

 private:
  friend void force_variant(std::string_view op, std::string_view variant);
  void run(const Work& work, void** arguments, std::span<const detail::ArgumentType> types);
  void force(std::string_view variant);
  void check_signature(const KernelEntry& entry, const Sizes& sizes, std::span<const detail::ArgumentType> types) const;

  const char* op_;
  const char* pass_;
  const KernelEntry* default_ = nullptr;
  std::vector<const KernelEntry*> conditional_;
  std::atomic<const KernelEntry*> forced_{nullptr};
  std::atomic<const KernelEntry*> checked_{nullptr};
};

}  // namespace mmrec
