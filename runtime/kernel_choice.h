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

/// One compiled kernel (an instance): a pass (forward, backward, nn, ..) of an operation in one
/// variant, with certain schedule parameters. The generator programs emit the entries
/// (generators/program/main.cpp).
struct KernelEntry {
  /// base name of its files and, after "mmrec_" and the ISA tier, of its function
  const char* name;
  const char* op;
  const char* pass;
  const char* variant;
  const char* dtype;  ///< of the products' factors, for example "f32"
  /// Parameters that are not the generator's defaults: "tile_rows=6 tile_vectors=4".
  const char* params;
  /// Level of the schedule tables that it comes from: "cpu amd_epyc_9r14", .., "generator default",
  /// or "rows of other CPUs", which have no use for it here.
  const char* level;
  const char* lowered;  ///< fingerprint of its lowered code
  const registry::Variant* line;
  int (*call)(void** arguments);
  const halide_filter_metadata_t* (*metadata)();

  bool bf16() const { return std::string_view(dtype) == registry::kBf16; }
  bool whole() const { return line->traits & registry::kWhole; }
  bool baseline() const { return line->traits & registry::kBaseline; }
};

/// The sizes of a call, in the order of the operation's line in generators/kernels.def. The
/// variants' conditions depend on them.
class Sizes {
 public:
  static constexpr size_t kMost = registry::kMostSizes;

  Sizes() = default;
  Sizes(std::initializer_list<int> sizes) : Sizes(std::span(sizes.begin(), sizes.size())) {}
  explicit Sizes(std::span<const int> sizes) : count_(static_cast<int>(sizes.size())) {
    if (sizes.size() > values_.size())
      fail("an operation has {} sizes at most, not {}", values_.size(), sizes.size());
    std::copy(sizes.begin(), sizes.end(), values_.begin());
  }
  /// All kMost values; those after the last size are 0.
  const std::array<int, kMost>& data() const { return values_; }
  int count() const { return count_; }
  bool operator==(const Sizes&) const = default;

 private:
  std::array<int, kMost> values_{};
  int count_ = 0;
};

/// A row of the schedule tables: the named kernel is the best one for calls of these sizes.
struct ScheduleRow {
  std::string_view kernel;
  std::array<int, Sizes::kMost> sizes;
  /// Of the CPUs that it is for. "": those for whose microarchitecture there are no rows.
  std::string_view microarchitecture = "";
  const char* level = "";  ///< see KernelEntry
};

/// Returns the rows for the CPUs of a microarchitecture.
std::vector<ScheduleRow> rows_for(std::string_view microarchitecture,
                                  std::span<const ScheduleRow> rows);
/// Sets the levels of the kernels of a CPU with these rows.
void set_levels(std::span<KernelEntry> kernels, std::span<const ScheduleRow> rows);

/// Chooses the kernel for calls of one pass of an operation.
///
/// The registry's conditions divide the sizes into regions, one per variant. If several conditions
/// hold, the last one decides; if none holds, the sizes are in the first variant's region. In a
/// call's region, the nearest row of the schedule tables gives variant and instance. Without a row
/// in the region, the region's variant with its generator's defaults serves.
///
/// A forced variant is served by the nearest of its own rows, or by its defaults.
///
/// Nearness is measured by the ratios of sizes. A small change of a size therefore changes the
/// kernel only where a condition or the nearest row changes.
class KernelChoice {
 public:
  KernelChoice(std::string_view op, std::string_view pass, std::string_view dtype,
               std::span<const KernelEntry> kernels, std::span<const ScheduleRow> rows);

  /// Returns the kernel for a call. `variant` forces one of the pass's variants; null forces none.
  const KernelEntry& operator()(const Sizes& sizes, const char* variant) const;

  /// All kernels of the pass.
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
  // The default instance of each variant, in the registry's order. A region is an index into it.
  std::vector<const KernelEntry*> defaults_;
  std::vector<Row> rows_;
};

}  // namespace mmrec
