#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <list>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bench/reference/array.h"
#include "runtime/kernel_registry.h"
#include "runtime/ops/weight.h"
#include "runtime/tensor.h"
#include "runtime/threads.h"
#include "tests/common/expect_error.h"

namespace mmrec {

using reference::Array;
using reference::Real;
using test::expect_error;

// ---------------------------------------------------------------------------------------- variants

/// The variant under test, for messages.
struct TestedVariant {
  std::string op, pass, variant;
};
inline TestedVariant current_variant;

inline std::string current_variant_string() {
  return fmt::format("{} {}, variant {}", current_variant.op, current_variant.pass,
                     current_variant.variant);
}

/// Returns the variants of all passes of an operation with factors of a type. An operation may call
/// several passes; a pass that the forced variant does not implement uses its default.
inline std::vector<std::string> all_variants(std::string_view op,
                                             std::string_view dtype = registry::kFloat32) {
  std::vector<std::string> names;
  for (const KernelEntry& entry : kernels())
    if (entry.op == op && entry.dtype == dtype &&
        std::find(names.begin(), names.end(), entry.variant) == names.end())
      names.push_back(entry.variant);
  return names;
}

/// Calls body() with each variant of `op` forced, for all instances of it in the schedule tables:
/// first with the first instance of every pass, then with the second ones, and so on. `pass` is the
/// name in messages.
template <class Body>
void for_each_variant(const std::string& op, const std::string& pass, Body body,
                      std::string_view dtype = registry::kFloat32) {
  const std::vector<std::string> names = all_variants(op, dtype);
  EXPECT_FALSE(names.empty()) << "no kernel of the operation " << op << " is registered";
  for (const std::string& variant : names) {
    std::map<std::string, std::vector<const KernelEntry*>> instances;  // by pass
    size_t most = 0;
    for (const KernelEntry& entry : kernels())
      if (entry.op == op && entry.variant == variant && entry.dtype == dtype) {
        instances[entry.pass].push_back(&entry);
        most = std::max(most, instances[entry.pass].size());
      }
    const ScopedVariant forced_variant(op, variant);
    for (size_t turn = 0; turn < most; ++turn) {
      std::list<ScopedKernel> forced;
      current_variant = {op, pass, variant};
      for (const auto& [of, entries] : instances) {
        const KernelEntry& entry = *entries[std::min(turn, entries.size() - 1)];
        forced.emplace_back(entry);
        if (*entry.params) current_variant.variant += fmt::format(" ({}: {})", of, entry.params);
      }
      body();
      while (!forced.empty()) forced.pop_back();  // each restores what was before it
    }
  }
}

// ----------------------------------------------------------------------------------------- tensors

/// kStrided: rows of a wider matrix; there is a gap between rows, and no row is aligned.
enum class RowLayout { kDense, kStrided };
using enum RowLayout;

/// A tensor that owns its memory, surrounded by guard zones. Guards, gaps between rows and output
/// elements are initialised with one special NaN. A read out of bounds or of an uninitialised
/// output poisons the results with NaN; a write out of bounds overwrites it. Inputs must not change
/// at all. The destructor checks this.
template <class T>
class Guarded {
 public:
  /// An output: all elements are uninitialised.
  explicit Guarded(const std::vector<int>& shape, RowLayout layout = kDense) {
    static_assert(sizeof(T) == sizeof(kCanary));
    std::vector<int> wide = shape;
    const bool gaps = layout == kStrided && !shape.empty();
    if (gaps) wide.back() += kGap;
    const int64_t count = TensorView<T>(nullptr, wide).count();
    memory_.assign(2 * kGuard + kAlign + count, std::bit_cast<T>(kCanary));
    T* start = memory_.data() + kGuard;
    start += (kAlign - reinterpret_cast<uintptr_t>(start) / sizeof(T) % kAlign) % kAlign;
    view_ = TensorView<T>(start, wide);
    if (gaps) view_ = view_.columns(kShift, kShift + shape.back());
    before_ = memory_;
  }
  Guarded(Guarded&&) = default;
  ~Guarded() {
    if (memory_.empty()) return;  // moved from
    if (!read_only_)
      for (int64_t i = 0; i < view_.count(); ++i) {
        T& now = reference::element(view_, i);
        before_[&now - memory_.data()] = now;
      }
    EXPECT_TRUE(std::memcmp(before_.data(), memory_.data(), memory_.size() * sizeof(T)) == 0)
        << current_variant_string() << " wrote "
        << (read_only_ ? "to, or next to, an input" : "outside an output") << " of shape "
        << view_.shape_string();
  }

  /// Makes the tensor an input: no byte may change from now on.
  void freeze() {
    before_ = memory_;
    read_only_ = true;
  }

  operator const TensorView<T>&() const { return view_; }
  operator ops::Weight() const
    requires std::is_same_v<T, float>
  {
    return view_;
  }
  const TensorView<T>& view() const { return view_; }
  T& operator[](int64_t flat) const { return reference::element(view_, flat); }
  Array array() const { return Array(view_); }
  operator Array() const { return array(); }
  std::vector<uint32_t> bits() const {
    std::vector<uint32_t> bits(view_.count());
    for (size_t i = 0; i < bits.size(); ++i) bits[i] = std::bit_cast<uint32_t>((*this)[i]);
    return bits;
  }

 private:
  // a quiet NaN as a float; far out of range as an id
  static constexpr uint32_t kCanary = 0x7fc0dead;
  // elements; an arena also aligns to 64 bytes
  static constexpr int kGuard = 64, kAlign = 16, kGap = 7, kShift = 3;

  std::vector<T> memory_, before_;
  TensorView<T> view_;
  bool read_only_ = false;
};
using GuardedTensor = Guarded<float>;
using GuardedIds = Guarded<int32_t>;

inline GuardedTensor output(const std::vector<int>& shape, RowLayout layout = kDense) {
  return GuardedTensor(shape, layout);
}

/// A tensor that a kernel updates in place, with these initial values, rounded.
inline GuardedTensor inout(const Array& values, RowLayout layout = kDense) {
  GuardedTensor tensor(values.shape(), layout);
  for (size_t i = 0; i < values.count(); ++i) tensor[i] = static_cast<float>(values[i].value);
  return tensor;
}

/// An output that an operation adds to. All elements start at kBefore; expect_added compares with
/// kBefore + gradient.
inline constexpr double kBefore = 0.25;
inline GuardedTensor added_to(const std::vector<int>& shape, RowLayout layout = kDense) {
  return inout(
      reference::map(Array(shape), [](reference::Real) { return reference::Real(kBefore); }),
      layout);
}

inline GuardedTensor input(const Array& values, RowLayout layout = kDense) {
  GuardedTensor tensor = inout(values, layout);
  tensor.freeze();
  return tensor;
}

/// Repeatable random inputs.
class Random {
 public:
  explicit Random(uint32_t seed = 1) : engine_(seed) {}

  float uniform(float low, float high) {
    return low + (high - low) * std::ldexp(static_cast<float>(engine_() >> 8), -24);
  }
  int below(int n) { return static_cast<int>(engine_() % n); }

  GuardedTensor input(const std::vector<int>& shape, float low = -1, float high = 1,
                      RowLayout layout = kDense) {
    GuardedTensor tensor(shape, layout);
    for (int64_t i = 0; i < tensor.view().count(); ++i) tensor[i] = uniform(low, high);
    tensor.freeze();
    return tensor;
  }
  GuardedTensor input(const std::vector<int>& shape, RowLayout layout) {
    return input(shape, -1, 1, layout);
  }
  GuardedIds ids(int count, int vocabulary) {
    GuardedIds ids({count});
    for (int i = 0; i < count; ++i) ids[i] = below(vocabulary);
    ids.freeze();
    return ids;
  }

 private:
  std::mt19937 engine_;
};

// ------------------------------------------------------------------------------------- comparisons

/// The only tolerance: kUnits float epsilons times the error bound of the reference (see
/// reference::Real), plus the effect of flushing denormals to zero. Rounding errs by at most half
/// an epsilon, so with the reference's order and formula 0.5 would suffice. The rest allows kernels
/// another order and formula.
inline constexpr double kUnits = 2;
inline double tolerance(Real want) { return kUnits * FLT_EPSILON * want.error + 16 * FLT_MIN; }

inline std::string index_string(size_t flat, const std::vector<int>& shape) {
  std::vector<size_t> index(shape.size());
  for (size_t axis = shape.size(); axis-- > 0; flat /= shape[axis])
    index[axis] = flat % shape[axis];
  return fmt::format("[{}]", fmt::join(index, ","));
}

/// Expects the errors of an array to be small together. Bounds of bfloat16's errors say little
/// after some sums, which they take to be all at their worst and of one sign. In truth they are
/// independent and their root mean square, relative to the factors, is 2^-9 / sqrt(3): relative to
/// sums of random terms it is about that, and some times that after a chain of sums. (Where a relu
/// opens or closes, a gradient appears or is lost: that makes 0.04 of dpg_gamma's.)
inline void expect_small_error(std::string_view name, const SavedTensor& got, const Array& want) {
  constexpr size_t kFewest = 64;  // elements: fewer may lie all far from what is usual
  constexpr double kAllowed = 0.05;
  double error = 0, all = 0;
  for (size_t i = 0; i < want.count(); ++i) {
    error += std::pow(reference::element(got, i) - want[i].value, 2);
    all += std::pow(want[i].value, 2);
  }
  EXPECT_TRUE(want.count() < kFewest || std::sqrt(error) <= kAllowed * std::sqrt(all))
      << std::sqrt(error / all) << " is the relative error of " << current_variant_string() << ", "
      << name << " " << got.shape_string();
}

/// Expects every element of `got` to be within the tolerance of `want`. The message shows the
/// worst.
inline void expect_close(std::string_view name, const SavedTensor& got, const Array& want) {
  ASSERT_EQ(reference::shape_of(got), want.shape()) << current_variant_string() << ", " << name;
  size_t wrong = 0, worst = 0;
  double worst_ratio = 0, widest = 0, largest = 0;
  for (size_t i = 0; i < want.count(); ++i) {
    const double ratio = std::abs(reference::element(got, i) - want[i].value) / tolerance(want[i]);
    widest = std::max(widest, tolerance(want[i]));
    largest = std::max(largest, std::abs(want[i].value));
    if (ratio <= 1) continue;
    ++wrong;
    if (ratio > worst_ratio || std::isnan(ratio)) worst = i, worst_ratio = ratio;
  }
  if (wrong > 0)
    ADD_FAILURE() << fmt::format(
        "{}: {} of {} elements of {} {} are wrong, the worst at {}: got {}, want {} within {:.3g}",
        current_variant_string(), wrong, want.count(), name, got.shape_string(),
        index_string(worst, want.shape()), reference::element(got, worst), want[worst].value,
        tolerance(want[worst]));
  if (precision() == Precision::kBf16) return expect_small_error(name, got, want);
  // A tolerance as large as the compared values would prove nothing.
  EXPECT_LE(widest, 0.01 * std::max(largest, 0.01))
      << current_variant_string() << ", " << name << " " << got.shape_string()
      << ": the error bound says nothing";
}

inline void expect_added(std::string_view name, const Tensor& got, const Array& gradient) {
  expect_close(name, got, reference::map(gradient, [](reference::Real g) { return kBefore + g; }));
}

/// Checks a gradient computed with formulas against central differences of the forward reference.
/// Returns the differences, with the formula's error bounds, to compare a kernel with.
inline Array proven(std::string_view name, const Array& formula, Array differences) {
  EXPECT_EQ(formula.shape(), differences.shape()) << name;
  double largest = 0;
  for (size_t i = 0; i < formula.count(); ++i)
    largest = std::max(largest, std::abs(formula[i].value));
  const double allowed = 1e-7 * (1 + largest);
  for (size_t i = 0; i < formula.count(); ++i) {
    EXPECT_NEAR(formula[i].value, differences[i].value, allowed)
        << "the reference's gradient of " << name << " at " << index_string(i, formula.shape())
        << " is not that of its forward pass";
    differences[i].error = formula[i].error + allowed / FLT_EPSILON;
  }
  return differences;
}

// ----------------------------------------------------------------------------------------- threads

using Bits = std::vector<std::vector<uint32_t>>;

/// run() returns the bits of all results. They must not depend on the number of threads.
template <class Run>
void expect_same_bits_for_any_threads(Run run) {
  const auto compute = [&](int threads) -> Bits {
    const ScopedThreads scoped(threads);
    return run();
  };
  const Bits one = compute(1);
  for (int threads : {2, 3}) {
    const Bits several = compute(threads);
    for (size_t i = 0; i < one.size(); ++i)
      EXPECT_TRUE(one[i] == several[i]) << current_variant_string() << ": result " << i << " of "
                                        << threads << " threads differs from that of one";
  }
}

}  // namespace mmrec
