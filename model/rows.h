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
/// `columns` is a multiple of 4.
template <class Value>
float largest(int64_t rows, int columns, const Value& value) {
  // Four maxima at a time make one vector instruction, and four rows hide its latency.
  constexpr int kTasks = 32, kLanes = 4, kRows = 4;
  std::array<std::array<float, kRows * kLanes>, kTasks> found;
  for (auto& lanes : found) lanes.fill(-std::numeric_limits<float>::infinity());
  parallel_for(kTasks, [&](int task) {
    std::array<float, kRows * kLanes> best = found[task];
    const int64_t end = rows * (task + 1) / kTasks;
    for (int64_t n = rows * task / kTasks; n < end; n += kRows)
      for (int d = 0; d < columns; d += kLanes)
        for (int row = 0; row < kRows; ++row)
          for (int lane = 0; lane < kLanes; ++lane) {
            const float candidate = value(std::min(n + row, end - 1), d + lane);
            float& most = best[row * kLanes + lane];
            most = candidate > most ? candidate : most;
          }
    found[task] = best;
  });
  float result = -std::numeric_limits<float>::infinity();
  for (const auto& lanes : found) result = std::max(result, *std::ranges::max_element(lanes));
  return result;
}

}  // namespace mmrec
