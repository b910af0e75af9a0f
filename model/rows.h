#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>

#include "runtime/threads.h"

namespace mmrec {

/// Runs body(n) for every row in parallel, kRowsPerTask rows a task.
template <class Body>
void for_each_row(int64_t rows, const Body& body) {
  constexpr int64_t kRowsPerTask = 16;
  parallel_for(static_cast<int>((rows + kRowsPerTask - 1) / kRowsPerTask), [&](int task) {
    for (int64_t n = task * kRowsPerTask; n < std::min(rows, (task + 1) * kRowsPerTask); ++n)
      body(n);
  });
}

/// Returns the largest value(n, d) for rows n and columns d, in parallel; NaN counts as nothing.
template <class Value>
float largest(int64_t rows, int columns, const Value& value) {
  // A maximum for each of kColumns columns: the compiler makes vectors of a loop of fixed length,
  // and that many hide the latency of each.
  constexpr int kTasks = 32, kColumns = 64;
  std::array<float, kTasks> found;
  parallel_for(kTasks, [&](int task) {
    std::array<float, kColumns> best;
    best.fill(-std::numeric_limits<float>::infinity());
    const auto take = [&](int64_t n, int first, int count) {
      for (int i = 0; i < count; ++i) {
        const float candidate = value(n, first + i);
        best[i] = candidate > best[i] ? candidate : best[i];
      }
    };
    for (int64_t n = rows * task / kTasks; n < rows * (task + 1) / kTasks; ++n) {
      int d = 0;
      for (; d <= columns - kColumns; d += kColumns) take(n, d, kColumns);
      take(n, d, columns - d);
    }
    found[task] = *std::ranges::max_element(best);
  });
  return *std::ranges::max_element(found);
}

}  // namespace mmrec
