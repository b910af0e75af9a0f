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

#include "support/error.h"

namespace mmrec {

/// One compiled kernel, an instance: a pass (forward, backward, nn, ..) of an operation in one variant, with certain parameters of its
/// schedule. The rows come from the registry lines in generators/CMakeLists.txt and from the schedule tables.
struct KernelEntry {
  const char* name;  ///< of its files and, behind mmrec_, of its function
  const char* op;
  const char* pass;
  const char* variant;
  const char* params;                ///< "tile_rows=6 tile_vectors=4": those that are not the generator's defaults
  const char* level;                 ///< of the schedule tables that has it: "cpu amd_epyc_9r14", .., "generator default"
  bool whole;                        ///< takes in one call what the operation's function otherwise cuts into many
  const char* size_names;            ///< of the operation: "M N K"
  bool (*serves)(const int* sizes);  ///< the variant's WHEN, null where it has none
  int (*call)(void** arguments);
  const halide_filter_metadata_t* (*metadata)();
};

/// The sizes of a call, in the order of the operation's SIZES in generators/CMakeLists.txt: what the variants' conditions see.
class Sizes {
 public:
  static constexpr size_t kMost = 4;

  Sizes() = default;
  Sizes(std::initializer_list<int> sizes) : Sizes(std::span(sizes.begin(), sizes.size())) {}
  explicit Sizes(std::span<const int> sizes) : count_(static_cast<int>(sizes.size())) {
    if (sizes.size() > values_.size()) fail("an operation has {} sizes at most, not {}", values_.size(), sizes.size());
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

/// Which kernel serves a call of one pass of an operation:
///   the variant is that of the nearest row, if no size is more than twice or less than half the row's, or else the first variant
///   whose condition holds for the sizes, or else the first one, the default;
///   of that variant it is the instance of the nearest of its own rows, if no size is more than eight times or less than an eighth of
///   the row's, or else that of the generator's defaults, which stands first.
/// Near is where the sizes have small ratios.
class KernelChoice {
 public:
  KernelChoice(std::string_view op, std::string_view pass, std::span<const KernelEntry> kernels, std::span<const ScheduleRow> rows);

  /// `variant` forces one of the kernels' variants; null forces none.
  const KernelEntry& operator()(const Sizes& sizes, const char* variant) const;

  /// The pass's kernels.
  std::span<const KernelEntry* const> kernels() const { return kernels_; }

 private:
  using Scales = std::array<int32_t, Sizes::kMost>;  // see scales_of
  struct Row {
    Scales scales;
    const KernelEntry* kernel;
  };

  static Scales scales_of(std::span<const int, Sizes::kMost> sizes);
  template <class Eligible>
  const Row* nearest(const Scales& scales, int32_t reach, const Eligible& eligible) const;

  std::vector<const KernelEntry*> kernels_;
  std::vector<Row> rows_;
};

}  // namespace mmrec
