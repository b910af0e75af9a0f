#include "runtime/kernel_choice.h"

#include <bit>
#include <cstdlib>
#include <iterator>
#include <limits>

namespace mmrec {

std::vector<ScheduleRow> rows_for(std::string_view microarchitecture,
                                  std::span<const ScheduleRow> rows) {
  if (std::ranges::find(rows, microarchitecture, &ScheduleRow::microarchitecture) == rows.end())
    microarchitecture = "";
  std::vector<ScheduleRow> found;
  std::ranges::copy_if(rows, std::back_inserter(found), [&](const ScheduleRow& row) {
    return row.microarchitecture == microarchitecture;
  });
  return found;
}

void set_levels(std::span<KernelEntry> kernels, std::span<const ScheduleRow> rows) {
  for (KernelEntry& kernel : kernels) {
    const auto row = std::ranges::find(rows, kernel.name, &ScheduleRow::kernel);
    kernel.level = row != rows.end() ? row->level
                   : *kernel.params  ? "rows of other CPUs"
                                     : "generator default";
  }
}

KernelChoice::KernelChoice(std::string_view op, std::string_view pass, std::string_view dtype,
                           std::span<const KernelEntry> kernels,
                           std::span<const ScheduleRow> rows) {
  for (const KernelEntry& kernel : kernels) {
    if (kernel.op != op || kernel.pass != pass || kernel.dtype != dtype) continue;
    kernels_.push_back(&kernel);
    if (std::ranges::none_of(defaults_, [&](const KernelEntry* other) {
          return std::string_view(other->variant) == kernel.variant;
        }))
      defaults_.push_back(&kernel);
  }
  if (kernels_.empty())
    fail(
        "no kernel implements {}.{} for {}: generators/kernels.def has no MMREC_KERNEL line of the "
        "operation, or none of the generators that its lines name is registered for this pass",
        op, pass, dtype);
  for (const KernelEntry* kernel : kernels_)
    for (const ScheduleRow& row : rows)
      if (row.kernel == kernel->name)
        rows_.push_back({scales_of(row.sizes), region_of(row.sizes), kernel});
}

/// A float's bits approximate log2(size): the exponent, followed by the fraction. So differences of
/// scales approximate log ratios of sizes. Size 0 is far from all others.
KernelChoice::Scales KernelChoice::scales_of(std::span<const int, Sizes::kMost> sizes) {
  Scales scales;
  std::ranges::transform(sizes, scales.begin(),
                         [](int size) { return std::bit_cast<int32_t>(static_cast<float>(size)); });
  return scales;
}

size_t KernelChoice::region_of(std::span<const int, Sizes::kMost> sizes) const {
  for (size_t i = defaults_.size(); i-- > 1;)
    if (defaults_[i]->line->serves(sizes.data())) return i;
  return 0;
}

template <class Eligible>
const KernelEntry* KernelChoice::nearest(const Scales& scales, const Eligible& eligible) const {
  const KernelEntry* best = nullptr;
  int64_t least = std::numeric_limits<int64_t>::max();
  for (const Row& row : rows_) {
    int64_t distance = 0;
    for (size_t i = 0; i < scales.size(); ++i)
      distance += std::abs(int64_t{row.scales[i]} - scales[i]);
    if (distance < least && eligible(row)) best = row.kernel, least = distance;
  }
  return best;
}

const KernelEntry& KernelChoice::operator()(const Sizes& sizes, const char* variant) const {
  const Scales scales = scales_of(sizes.data());
  if (!variant) {
    const size_t region = region_of(sizes.data());
    const KernelEntry* best = nearest(scales, [&](const Row& row) { return row.region == region; });
    return best ? *best : *defaults_[region];
  }
  const auto is_variant = [&](const KernelEntry* kernel) {
    return std::string_view(kernel->variant) == variant;
  };
  const KernelEntry* best = nearest(scales, [&](const Row& row) { return is_variant(row.kernel); });
  return best ? *best : **std::ranges::find_if(defaults_, is_variant);
}

}  // namespace mmrec
