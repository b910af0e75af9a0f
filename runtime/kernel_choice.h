#pragma once

#include <HalideRuntime.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string_view>
#include <vector>

#include "generators/registry/registry.h"
#include "support/error.h"

namespace mmrec {

/// One compiled kernel, an instance: a pass (forward, backward, nn, ..) of an operation in one
/// variant, with certain parameters of its schedule. A generator's program emits its rows
/// (generators/program/main.cpp).
struct KernelEntry {
  const char* name;  ///< of its files and, behind mmrec_, of its function
  const char* op;
  const char* pass;
  const char* variant;
  const char* dtype;  ///< of the arrays' elements: "f32"
  const char*
      params;  ///< "tile_rows=6 tile_vectors=4": those that are not the generator's defaults
  const char*
      level;  ///< of the schedule tables that has it: "cpu amd_epyc_9r14", .., "generator default"
  const char* lowered;  ///< fingerprint of its code
  const registry::Variant* line;
  int (*call)(void** arguments);
  const halide_filter_metadata_t* (*metadata)();

  bool whole() const { return line->traits & registry::kWhole; }
};

/// The sizes of a call, in the order of the operation's line in generators/kernels.def: what the
/// variants' conditions see.
class Sizes {
 public:
  static constexpr size_t kMost = 4;

  Sizes() = default;
  Sizes(std::initializer_list<int> sizes) : Sizes(std::span(sizes.begin(), sizes.size())) {}
  explicit Sizes(std::span<const int> sizes) : count_(static_cast<int>(sizes.size())) {
    if (sizes.size() > values_.size())
      fail("an operation has {} sizes at most, not {}", values_.size(), sizes.size());
    std::copy(sizes.begin(), sizes.end(), values_.begin());
  }
  /// Those behind the last are 0.
  const std::array<int, kMost>& data() const { return values_; }
  int count() const { return count_; }
  bool operator==(const Sizes&) const = default;

 private:
  std::array<int, kMost> values_{};
  int count_ = 0;
};

/// A row of the schedule tables: the kernel of this name is best for calls of these sizes.
struct ScheduleRow {
  std::string_view kernel;
  std::array<int, Sizes::kMost> sizes;
};

/// Which kernel serves a call of one pass of an operation. The conditions in the registry divide
/// the sizes into regions, one a variant: of several that hold the last counts, where none holds it
/// is the first variant's region. In the region of a call
///   the nearest of the tables' rows that are in it says which variant serves and which instance of
///   it; where there is no row it is the region's variant with its generator's defaults.
/// A variant that is forced is served by the nearest row of its own, or by its defaults. Near is
/// where the sizes have small ratios. So a size that changes by little changes the kernel only
/// where a condition says so or another row becomes the nearest.
class KernelChoice {
 public:
  KernelChoice(std::string_view op, std::string_view pass, std::string_view dtype,
               std::span<const KernelEntry> kernels, std::span<const ScheduleRow> rows);

  /// `variant` forces one of the kernels' variants; null forces none.
  const KernelEntry& operator()(const Sizes& sizes, const char* variant) const;

  /// The pass's kernels.
  std::span<const KernelEntry* const> kernels() const { return kernels_; }

 private:
  using Scales = std::array<int32_t, Sizes::kMost>;  // see scales_of
  struct Row {
    Scales scales;
    size_t region;
    const KernelEntry* kernel;
  };

  static Scales scales_of(std::span<const int, Sizes::kMost> sizes);
  size_t region_of(std::span<const int, Sizes::kMost> sizes) const;
  template <class Eligible>
  const KernelEntry* nearest(const Scales& scales, const Eligible& eligible) const;

  std::vector<const KernelEntry*> kernels_;
  std::vector<const KernelEntry*>
      defaults_;  // of each variant, in the registry's order: a region is an index of it
  std::vector<Row> rows_;
};

}  // namespace mmrec
