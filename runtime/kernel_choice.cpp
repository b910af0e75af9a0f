#include "runtime/kernel_choice.h"

#include <bit>
#include <cstdlib>
#include <limits>

namespace mmrec {

namespace {

/// How far a size may be from a row's for the row to say which variant is best, and which instance of a variant: factors of two and of
/// eight in scales.
constexpr int32_t kNear = 1 << 23, kReach = 3 << 23;

int64_t difference(int32_t a, int32_t b) { return std::abs(int64_t{a} - b); }

}  // namespace

KernelChoice::KernelChoice(std::string_view op, std::string_view pass, std::span<const KernelEntry> kernels, std::span<const ScheduleRow> rows) {
  for (const KernelEntry& kernel : kernels) {
    if (kernel.op != op || kernel.pass != pass) continue;
    kernels_.push_back(&kernel);
    for (const ScheduleRow& row : rows)
      if (row.kernel == kernel.name) rows_.push_back({scales_of(row.sizes), &kernel});
  }
  if (kernels_.empty()) fail("no kernel implements {}.{}: its line is missing in generators/CMakeLists.txt", op, pass);
}

/// Numbers whose differences are near to those of the sizes' logarithms: a float's bits are its exponent with the fraction behind it.
/// That of 0 is far from all others.
KernelChoice::Scales KernelChoice::scales_of(std::span<const int, Sizes::kMost> sizes) {
  Scales scales;
  std::ranges::transform(sizes, scales.begin(), [](int size) { return std::bit_cast<int32_t>(static_cast<float>(size)); });
  return scales;
}

/// The nearest eligible row, if none of its sizes is further than `reach`.
template <class Eligible>
const KernelChoice::Row* KernelChoice::nearest(const Scales& scales, int32_t reach, const Eligible& eligible) const {
  const Row* best = nullptr;
  int64_t least = std::numeric_limits<int64_t>::max();
  for (const Row& row : rows_) {
    int64_t distance = 0;
    for (size_t i = 0; i < scales.size(); ++i) distance += difference(row.scales[i], scales[i]);
    if (distance < least && eligible(row)) best = &row, least = distance;
  }
  const auto within = [&](int32_t a, int32_t b) { return difference(a, b) <= reach; };
  return best && std::ranges::equal(best->scales, scales, within) ? best : nullptr;
}

const KernelEntry& KernelChoice::operator()(const Sizes& sizes, const char* variant) const {
  const Scales scales = scales_of(sizes.data());
  if (!variant) {
    if (const Row* row = nearest(scales, kNear, [](const Row&) { return true; })) return *row->kernel;
    const auto serves = [&](const KernelEntry* kernel) { return kernel->serves && kernel->serves(sizes.data().data()); };
    const auto conditional = std::ranges::find_if(kernels_, serves);
    variant = (conditional == kernels_.end() ? kernels_.front() : *conditional)->variant;
  }
  const auto is_variant = [&](const KernelEntry* kernel) { return std::string_view(kernel->variant) == variant; };
  if (const Row* row = nearest(scales, kReach, [&](const Row& row) { return is_variant(row.kernel); })) return *row->kernel;
  return **std::ranges::find_if(kernels_, is_variant);
}

}  // namespace mmrec
