#include "bench/tune/check.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>

#include "bench/harness/case.h"
#include "bench/workloads/workloads.h"
#include "runtime/threads.h"

namespace mmrec::tune {

namespace {

/// Relative to the array's root mean square plus the element. About a hundred times the rounding
/// error of single-precision sums of this length, and less than a single missing term. The tests
/// check the exact rounding bounds.
constexpr double kTolerance = 1e-4;

using Arrays = std::vector<std::vector<float>>;

/// Returns the arrays' contents after one call of a kernel.
Arrays results(const KernelEntry& kernel, const bench::Workload& work, uint64_t seed, int threads) {
  const ScopedThreads scoped(threads);
  const bench::Prepared call(work, seed);
  {
    const ScopedKernel forced(kernel);
    call();
  }
  Arrays arrays;
  for (const SavedTensor& array : call.arrays()) {
    std::vector<float>& values = arrays.emplace_back(array.count());
    for (size_t i = 0; i < values.size(); ++i)
      values[i] = reference::element(array, static_cast<int64_t>(i));
  }
  return arrays;
}

bool same_bits(const Arrays& a, const Arrays& b) {
  return std::ranges::equal(a, b, [](const std::vector<float>& x, const std::vector<float>& y) {
    return x.size() == y.size() && std::memcmp(x.data(), y.data(), x.size() * sizeof(float)) == 0;
  });
}

double root_mean_square(const std::vector<float>& values) {
  double sum = 0;
  for (const float value : values) sum += std::isfinite(value) ? 1. * value * value : 0;
  return std::sqrt(sum / static_cast<double>(values.size()));
}

/// Describes the first difference between two results; "" if they agree.
std::string difference(const Arrays& got, const Arrays& want) {
  for (size_t i = 0; i < want.size(); ++i) {
    const double scale = root_mean_square(want[i]);
    for (size_t j = 0; j < want[i].size(); ++j) {
      const double a = got[i][j], b = want[i][j];
      if (std::memcmp(&got[i][j], &want[i][j], sizeof(float)) == 0) continue;
      if (!(std::abs(a - b) <= kTolerance * (scale + std::abs(b))))
        return fmt::format("element {} of array {} is {}, {} expected", j, i, got[i][j],
                           want[i][j]);
    }
  }
  return "";
}

}  // namespace

std::vector<std::vector<int>> shapes_to_check(const std::vector<int>& sizes) {
  std::vector<std::vector<int>> shapes{sizes};
  const auto add = [&](size_t first, const auto& change) {  // changes the first `first` sizes
    std::vector<int> changed = sizes;
    for (size_t i = 0; i < std::min(first, sizes.size()); ++i)
      if (sizes[i] > 8) changed[i] = change(sizes[i]);
    if (std::ranges::find(shapes, changed) == shapes.end()) shapes.push_back(changed);
  };
  add(1, [](int size) { return size / 2 + 3; });
  add(sizes.size(), [](int size) { return size / 2 + 3; });
  add(sizes.size(), [](int) { return 11; });
  return shapes;
}

std::string find_fault(const KernelEntry& trusted, const KernelEntry& candidate,
                       const std::vector<int>& sizes, uint64_t seed) {
  const bench::Workload work =
      bench::workload_of(candidate.op, candidate.pass, sizes, candidate.dtype);
  const int threads = std::max(2, num_threads());
  Arrays want;
  try {
    want = results(trusted, work, seed, threads);
  } catch (const Error&) {
    return "";  // the operation refuses these sizes
  }
  const std::string where = fmt::format("at {}", fmt::join(sizes, "x"));
  const Arrays got = results(candidate, work, seed, threads);
  if (const std::string found = difference(got, want); !found.empty())
    return fmt::format("{} {}", where, found);
  if (!same_bits(got, results(candidate, work, seed, threads)))
    return fmt::format("{} two calls gave different bits", where);
  if (!same_bits(got, results(candidate, work, seed, 1)))
    return fmt::format("{} one thread and {} gave different bits", where, threads);
  return "";
}

}  // namespace mmrec::tune
